"""What images can be told apart by: columns of their manifest, as text, and clusters of the latent space."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from sfjax.data import patient_groups
from sfjax.data.identifying import NAMES, named_for_identity, values_identify
from sfjax.study.run import MOST_GROUPS

CLUSTER: Final = "feature_cluster"
ALWAYS: Final = ("label", "domain", "subclass")
"""Columns that every data set may have, which are always attributes."""
_OWN: Final = NAMES | {"", "file_name", "label_index", "split", "kind", "shift_kind", "loss_weight"}
"""Columns that are there without anybody's doing, and are left out without a word; one without a name numbers rows."""
_BOOKKEEPING: Final = frozenset({"split_hint"})
NO_ATTRIBUTES: Final = f"may name images or patients, keep the books or have more than {MOST_GROUPS} values"
"""What columns do that are left out, for a note."""
_FEW_VALUES: Final = 10
"""Numbers with more values than that are cut at their quartiles."""


def slice_attributes(
    tables: Mapping[str, pd.DataFrame],
    clusters: Mapping[str, Int[np.ndarray, " _"]] | None = None,
    *,
    columns: Sequence[str] | None = None,
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Returns by test set what images can be told apart by, a row an image, as text; and the columns left out.

    Columns that name images, patients or files, by what they are called or by what stands in them
    (`sfjax.data.identifying`), are no attributes, nor are those with more than `MOST_GROUPS` values that are no
    numbers. Numbers with more than ten values are cut at the quartiles of all images and called `<column>_quarter`. A
    blank is no value.

    Args:
        tables: By test set, a row an image.
        clusters: By test set, the cluster of every image, -1 for none.
        columns: Which are attributes besides label, domain and subclass, whatever they are called; None for all that
            name nobody.

    Raises:
        ValueError: A column of `columns` is not there, or has too many values.
    """
    if columns is not None:
        check_attributes(tables, columns)
    table = pd.concat(list(tables.values()), ignore_index=True)
    sets = np.repeat(np.array(list(tables), dtype=object), [len(one) for one in tables.values()])
    found: dict[str, np.ndarray] = {"test_set": sets}
    patients = patient_groups(table) if "patient_id" in table else np.arange(len(table))
    left_out = []
    for name in map(str, table.columns):
        wanted = name in ALWAYS or (columns is not None and name in columns)
        if name in (CLUSTER, "test_set") or (not wanted and (columns is not None or name in _OWN)):
            continue
        values = table[name]
        if not wanted and (name in _BOOKKEEPING or named_for_identity(name)):
            left_out.append(name)
        elif _is_cut(values):
            found[f"{name}_quarter"] = _quarters(values.to_numpy(float))
        else:
            texts = _texts(values)
            many = texts.nunique() > MOST_GROUPS
            if many or (not wanted and values_identify(texts, patients, pd.Series(sets))):
                left_out.append(name)
            else:
                found[name] = texts.to_numpy(dtype=object)
    if clusters is not None:
        assigned = np.concatenate([clusters[name] for name in tables])
        found[CLUSTER] = np.where(assigned < 0, "", assigned.astype(str)).astype(object)
    whole = pd.DataFrame(found)
    places = np.cumsum([0, *(len(one) for one in tables.values())])
    parts = {name: whole.iloc[places[i] : places[i + 1]].reset_index(drop=True) for i, name in enumerate(tables)}
    return parts, left_out


def check_attributes(tables: Mapping[str, pd.DataFrame], columns: Sequence[str]) -> None:
    """Raises ValueError where columns cannot be attributes: no table has one, or it has too many values.

    Args:
        tables: By test set, a row an image.
        columns: Those that are wanted.
    """
    there = dict.fromkeys(str(column) for table in tables.values() for column in table.columns)
    if unknown := [column for column in columns if column not in there]:
        raise ValueError(
            f"No table of the images has the column {', '.join(unknown)}, which is to tell images apart; there are "
            f"{', '.join(there)}."
        )
    for column in columns:
        values = pd.concat([table[column] for table in tables.values() if column in table])
        if not _is_cut(values) and (many := _texts(values).nunique()) > MOST_GROUPS:
            raise ValueError(
                f"The column {column} has {many} values; images are told apart by {MOST_GROUPS} at most. Put them into "
                "fewer groups, such as ages into decades."
            )


def _is_cut(values: pd.Series) -> bool:
    return values.dtype.kind in "iuf" and values.nunique() > _FEW_VALUES


def _texts(values: pd.Series) -> pd.Series:
    if values.dtype.kind in "iuf":
        return pd.Series(["" if np.isnan(x) else f"{x:g}" for x in values.to_numpy(float)], dtype=object)
    return values.astype(object).where(values.notna(), "").astype(str).reset_index(drop=True)


def _quarters(values: Float[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    """Returns in which quarter of all values each one is, as text."""
    edges = np.unique(np.nanquantile(values, [0, 0.25, 0.5, 0.75, 1]))
    names = np.array([f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(edges)], object)
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(names) - 1)
    return np.where(np.isnan(values), "", names[place])
