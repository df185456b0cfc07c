"""A frozen dataclass that JAX maps over: its fields are checked when it is built and free when it is mapped."""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def pytree_dataclass(cls: type[T]) -> type[T]:
    """Returns `cls` as a frozen, keyword-only dataclass that is registered as a pytree of its fields.

    JAX rebuilds a pytree with whatever it carries at that moment: tracers, shapes, `None`, axis numbers. So
    unflattening goes around `__init__`, and with it around the shape checks that the tests switch on; they hold for
    values that a person builds, which is where mistakes are made.

    Args:
        cls: A class with annotated fields and no `__init__` of its own.
    """
    cls = dataclasses.dataclass(frozen=True, kw_only=True, repr=True, eq=False)(cls)
    names = tuple(field.name for field in dataclasses.fields(cls))  # pyright: ignore[reportArgumentType]

    def flatten_with_keys(value: T) -> tuple[list[tuple[Any, Any]], None]:
        return [(jax.tree_util.GetAttrKey(name), getattr(value, name)) for name in names], None

    def flatten(value: T) -> tuple[list[Any], None]:
        return [getattr(value, name) for name in names], None

    def unflatten(_: None, children: Any) -> T:
        value = object.__new__(cls)
        for name, child in zip(names, children, strict=True):
            object.__setattr__(value, name, child)
        return value

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls
