"""What images can be told apart by: columns of their manifest, as text, and clusters of the latent space."""

import itertools
from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from sfjax.study.run import IDENTIFYING, MOST_GROUPS

CLUSTER: Final = "feature_cluster"
_NO_ATTRIBUTES: Final = IDENTIFYING | {"label_index", "split", "kind", "shift_kind", "loss_weight"}
_FEW_VALUES: Final = 10
"""Numbers with more values than that are cut at their quartiles."""


def slice_attributes(
    tables: Mapping[str, pd.DataFrame], clusters: Mapping[str, Int[np.ndarray, " _"]] | None = None
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Returns by test set what images can be told apart by, a row an image, as text; and the columns left out.

    Columns that name images, patients or files are no attributes, nor are those with more than `MOST_GROUPS` values
    that are no numbers. Numbers with more than ten values are cut at the quartiles of all images and called
    `<column>_quarter`. A blank is no value.

    Args:
        tables: By test set, a row an image.
        clusters: By test set, the cluster of every image, -1 for none.
    """
    table = pd.concat(list(tables.values()), ignore_index=True)
    columns: dict[str, np.ndarray] = {
        "test_set": np.repeat(np.array(list(tables), dtype=object), [len(one) for one in tables.values()])
    }
    left_out = []
    for name in map(str, table.columns):
        if name in _NO_ATTRIBUTES or name in (CLUSTER, "test_set"):
            continue
        values = table[name]
        if values.dtype.kind in "iuf" and values.nunique() > _FEW_VALUES:
            columns[f"{name}_quarter"] = _quarters(values.to_numpy(float))
        elif values.dtype.kind in "iuf":
            columns[name] = np.array(["" if np.isnan(x) else f"{x:g}" for x in values.to_numpy(float)], dtype=object)
        else:
            columns[name] = values.astype(object).where(values.notna(), "").astype(str).to_numpy(dtype=object)
            if pd.Series(columns[name]).nunique() > MOST_GROUPS:
                del columns[name]
                left_out.append(name)
    if clusters is not None:
        assigned = np.concatenate([clusters[name] for name in tables])
        columns[CLUSTER] = np.where(assigned < 0, "", assigned.astype(str)).astype(object)
    whole = pd.DataFrame(columns)
    places = np.cumsum([0, *(len(one) for one in tables.values())])
    parts = {name: whole.iloc[places[i] : places[i + 1]].reset_index(drop=True) for i, name in enumerate(tables)}
    return parts, left_out


def _quarters(values: Float[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    """Returns in which quarter of all values each one is, as text."""
    edges = np.unique(np.nanquantile(values, [0, 0.25, 0.5, 0.75, 1]))
    names = np.array([f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(edges)], object)
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(names) - 1)
    return np.where(np.isnan(values), "", names[place])
