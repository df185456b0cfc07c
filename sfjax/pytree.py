"""A frozen dataclass that JAX maps over: its fields are checked when it is built and free when it is mapped."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar, dataclass_transform

import jax

T = TypeVar("T")

STATIC: Final[Mapping[str, Any]] = MappingProxyType({"static": True})
"""Metadata of a field that is part of a tree's structure and no leaf of it."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def pytree_dataclass(cls: type[T]) -> type[T]:
    """Returns `cls` as a frozen, keyword-only dataclass that is registered as a pytree of its fields.

    JAX rebuilds a pytree with whatever it carries at that moment: tracers, shapes, `None`, axis numbers. So
    unflattening goes around `__init__`, and with it around the shape checks that the tests switch on; they hold for
    values that a person builds, which is where mistakes are made.

    A field that says what the arrays are, and is none itself, is static: `dataclasses.field(metadata=STATIC)`. It is
    part of the tree's structure, so that transformations carry it along unseen, functions are compiled once for each of
    its values, and trees that differ in it do not match. Its values are hashable.

    Args:
        cls: A class with annotated fields and no `__init__` of its own.
    """
    cls = dataclasses.dataclass(frozen=True, kw_only=True, repr=True, eq=False)(cls)
    static = static_fields(cls)
    fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
    names = tuple(field.name for field in fields if field.name not in static)

    def structure(value: T) -> tuple[Any, ...]:
        return tuple(getattr(value, name) for name in static)

    def flatten_with_keys(value: T) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        return [(jax.tree_util.GetAttrKey(name), getattr(value, name)) for name in names], structure(value)

    def flatten(value: T) -> tuple[list[Any], tuple[Any, ...]]:
        return [getattr(value, name) for name in names], structure(value)

    def unflatten(structure: tuple[Any, ...], children: Any) -> T:
        value = object.__new__(cls)
        for name, child in zip((*names, *static), (*children, *structure), strict=True):
            object.__setattr__(value, name, child)
        return value

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def static_fields(cls: type) -> tuple[str, ...]:
    """Returns the names of a dataclass's static fields."""
    return tuple(field.name for field in dataclasses.fields(cls) if field.metadata.get("static"))
