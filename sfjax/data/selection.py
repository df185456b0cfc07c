"""Which rows of a table are meant: one expression for what training is drawn from and for what is held out of it.

`COLUMN=VALUE` holds where the column has the value, `COLUMN=A|B` where it has one of them, `COLUMN!=A|B` where it has
another one, `COLUMN=*` where it has any; conditions with `&` between them hold together. Values are compared as text. A
blank is not known: it is neither equal nor unequal to anything.
"""

import re
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, cast, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool

from sfjax.data.findings import listing

HeldOutKind = Literal["acquisition", "manifestation"]
ANY: Final = "*"
"""Stands for every value, but for a blank."""
PREFIX: Final = MappingProxyType({"acquisition": "acq", "manifestation": "manif"})
"""What the names of shifted sets begin with."""
_KIND_OF_COLUMN: Final = MappingProxyType({"domain": "acquisition", "subclass": "manifestation"})


class Condition(NamedTuple):
    """One condition: the column has one of the values, or, where it is negated, another one."""

    column: str
    values: tuple[str, ...]
    negated: bool


class HoldOut(NamedTuple):
    """Images that training never sees, and the shifted test set that they become.

    Attributes:
        name: Of the test set, behind `acq_` or `manif_`.
        kind: What shifts.
        where: Which rows, an expression of this module.
    """

    name: str
    kind: HeldOutKind
    where: str

    @property
    def text(self) -> str:
        """What `parse_hold_out` reads."""
        return f"{self.kind}:{self.name}:{self.where}"


def parse(expression: str) -> tuple[Condition, ...]:
    """Returns the conditions of an expression, none of a blank one.

    Raises:
        ValueError: A part is no condition.

    Example:
        >>> parse("dx=bkl|akiec & domain!=vienna")[0]
        Condition(column='dx', values=('bkl', 'akiec'), negated=False)
    """
    conditions = []
    for part in expression.split("&") if expression.strip() else []:
        column, equals, values = part.partition("=")
        negated = column.endswith("!")
        condition = Condition(column.rstrip("!").strip(), tuple(v.strip() for v in values.split("|")), negated)
        if not equals or not condition.column or not all(condition.values):
            raise ValueError(
                f"A condition is COLUMN=VALUE, COLUMN=VALUE|VALUE or COLUMN!=VALUE, with & between several; got "
                f"{part!r} in {expression!r}."
            )
        conditions.append(condition)
    return tuple(conditions)


def matches(table: pd.DataFrame, expression: str) -> Bool[np.ndarray, " n"]:
    """Returns which rows meet all conditions of an expression; all rows meet a blank one.

    Args:
        table: A row an image.
        expression: See the module.

    Raises:
        ValueError: The expression is none, or names a column that the table has not.
    """
    met = np.ones(len(table), bool)
    for column, values, negated in parse(expression):
        text = as_text(table, column, expression)
        met &= (text != "") & ((values == (ANY,)) | np.isin(text, values) != negated)
    return met


def known(table: pd.DataFrame, expression: str) -> Bool[np.ndarray, " n"]:
    """Returns which rows have a value in every column that an expression names."""
    columns = [as_text(table, condition.column, expression) != "" for condition in parse(expression)]
    return np.all(columns, axis=0) if columns else np.ones(len(table), bool)


def as_text(table: pd.DataFrame, column: str, expression: str) -> np.ndarray:
    """Returns a column as stripped text, "" where blank, whole numbers without a decimal point.

    Raises:
        ValueError: There is no such column.
    """
    if column not in table:
        raise ValueError(
            f"{expression!r} asks for the column {column!r}; there are {listing(list(table.columns), 40)}."
        )

    def text(value: object) -> str:
        if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
            return ""
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()

    return np.array([text(value) for value in table[column].tolist()], dtype=object).astype(str)


def parse_hold_out(entry: str) -> HoldOut:
    """Returns what `[KIND:[NAME:]]EXPRESSION` holds out.

    Without a kind, what is held out by `domain` is an acquisition shift and what is by `subclass` a manifestation
    shift. Without a name, the set is called after the values.

    Raises:
        ValueError: There is no expression, or its kind is not known.

    Example:
        >>> parse_hold_out("domain=vienna")
        HoldOut(name='vienna', kind='acquisition', where='domain=vienna')
        >>> parse_hold_out("manifestation:rare:dx=bkl|akiec").name
        'rare'
    """
    head, equals, tail = entry.partition("=")
    *given, column = (part.strip() for part in head.split(":", 2))
    where = f"{column}={tail}".strip()
    conditions = parse(where) if equals else ()
    kind = given[0] if given else _KIND_OF_COLUMN.get(column.rstrip("! "))
    if not conditions or kind not in get_args(HeldOutKind):
        raise ValueError(
            "A hold-out is domain=NAME, subclass=NAME, or KIND:COLUMN=VALUE or KIND:NAME:COLUMN=VALUE, where KIND is "
            f"acquisition or manifestation; got {entry!r}."
        )
    values = ("_".join(("not", *values) if negated else values) for _, values, negated in conditions)
    name = given[1] if len(given) > 1 and given[1] else "_".join(values)
    return HoldOut(name, cast(HeldOutKind, kind), where)


def held_out_set(held: Sequence[HoldOut]) -> tuple[str, str]:
    """Returns name and kind of the test set of images that several hold-outs hold, one at least; acquisition is first.

    The name can be a file's name.

    Example:
        >>> held_out_set([parse_hold_out("subclass=pink"), parse_hold_out("domain=Hospital, B")])
        ('acq_manif_Hospital_B_pink', 'acquisition+manifestation')
    """
    ordered = sorted(held, key=lambda one: one.kind)
    kinds = list(dict.fromkeys(one.kind for one in ordered))
    name = "_".join([*(PREFIX[kind] for kind in kinds), *(one.name for one in ordered)])
    return file_safe(name), "+".join(kinds)


def file_safe(name: str) -> str:
    """Returns a set's name as it can be a file's name."""
    return re.sub(r"[^\w.+-]+", "_", name)
