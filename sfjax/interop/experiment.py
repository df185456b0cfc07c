"""An experiment of any program: what its network says of every set of images, and what is known about them."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from sfjax.data import SOURCE_SPLITS
from sfjax.data.selection import file_safe
from sfjax.outputs import Head, Outputs
from sfjax.study.tasks import TestSet
from sfjax.training import METHODS

LEARNED_FROM: Final = tuple(split for split in SOURCE_SPLITS if split != "iid_test")
"""Sets that scores and promises learn from, and that are not tested."""
KINDS: Final = (
    *("iid", "corruption", "acquisition", "manifestation", "acquisition+manifestation", "prevalence", "named"),
)
UNKNOWN_CLASS: Final = "(unknown)"
"""What a true class is called that the network does not know, where nothing says its name."""


class Experiment(NamedTuple):
    """What a network, or the networks of one seed, say of sets of images.

    Attributes:
        name: For titles and file names.
        classes: Names of the classes, in the order of the logits.
        outputs: By set, then by training method. The sets `train`, `val` and `cal` are learned from, all others tested.
        tables: By set, a row an image in the order of the outputs: `kind`, `label` (a class name), `domain`,
            `subclass`, `patient_id` (each "" where not known), `loss_weight`, `image_path` (where it lies, "" where it
            is not to be shown), `file_name` (as the other program has it) and every further column that it has.
        test_sets: What is tested, the i.i.d. set first.
        heads: By training method the last linear layer, for scores that read it.
        notes: What was left out, filled in or counted.
    """

    name: str
    classes: tuple[str, ...]
    outputs: Mapping[str, Mapping[str, Outputs]]
    tables: Mapping[str, pd.DataFrame]
    test_sets: tuple[TestSet, ...]
    heads: Mapping[str, Head] = {}
    notes: tuple[str, ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the training methods of the networks."""
        return tuple(next(iter(self.outputs.values())))


def from_arrays(
    outputs: Mapping[str, Outputs | Mapping[str, Outputs]],
    tables: Mapping[str, pd.DataFrame] | None = None,
    *,
    classes: Sequence[str] = (),
    test_sets: Sequence[TestSet] = (),
    heads: Mapping[str, Head] | None = None,
    name: str = "experiment",
    notes: Sequence[str] = (),
) -> Experiment:
    """Returns an experiment from what is in memory.

    Args:
        outputs: By set, such as `Outputs.from_numpy` makes them. `iid_test` is tested as the source; `val` sets
            thresholds and calibrates, `train` and `cal` are for scores that learn and for guarantees; any other name is
            a shifted set. Of several networks, by set and training method.
        tables: By set, a row an image: all columns of `Experiment.tables` are optional.
        classes: Their names; without them their numbers.
        test_sets: What is tested; without it every set that is not learned from, and each one's kind is what the column
            `kind` of its table says, or `named`.
        heads: By training method the last linear layer.
        name: Of the experiment.
        notes: What is to be said with the results.

    Raises:
        ValueError: Sets, rows or classes do not go together.

    Example:
        >>> import numpy as np
        >>> from sfjax.outputs import Outputs
        >>> said = Outputs.from_numpy(logits=[[2.0, -1.0], [0.5, 0.75], [-1.0, 2.0]], labels=[0, 1, 1])
        >>> made = from_arrays({"iid_test": said, "other_scanner": said}, classes=["benign", "malignant"])
        >>> [(one.name, one.kind) for one in made.test_sets], made.tables["iid_test"]["label"].tolist()
        ([('iid_test', 'iid'), ('other_scanner', 'named')], ['benign', 'malignant', 'malignant'])
    """
    said = {key: _by_method(one) for key, one in outputs.items()}
    given = tables or {}
    if unknown := sorted(set(given) - set(said)):
        raise ValueError(f"There are tables of sets without outputs: {', '.join(unknown)}. Give both, or neither.")
    if set(LEARNED_FROM) >= set(said):
        raise ValueError(f"Nothing is tested: the sets are {', '.join(said) or 'none'}. Add iid_test or another set.")
    methods = {tuple(one) for one in said.values()}
    if len(methods) != 1 or (unknown := sorted(set(next(iter(methods))) - set(METHODS))):
        raise ValueError(
            f"Every set needs outputs of the same training methods, among {', '.join(METHODS)}; got "
            f"{' and '.join(sorted(map(', '.join, methods)))}."
        )
    widths = {len_of(one) for by_method in said.values() for one in by_method.values()}
    names = tuple(map(str, classes)) or tuple(map(str, range(max(widths))))
    if widths != {len(names)} or len(set(names)) != len(names):
        raise ValueError(
            f"There are {len(names)} classes with {len(set(names))} names, and the logits have "
            f"{' and '.join(map(str, sorted(widths)))}. Name each class once, in the order of the logits."
        )
    whole = {key: complete(given.get(key), one, names, key) for key, one in said.items()}
    tested = tuple(test_sets) or tuple(
        _test_set(key, whole[key]) for key in sorted(said, key=_iid_first) if key not in LEARNED_FROM
    )
    if absent := [one.name for one in tested if one.name not in said]:
        raise ValueError(f"There are no outputs of the test sets {', '.join(absent)}. There are {', '.join(said)}.")
    whole |= {one.name: whole[one.name].assign(kind=one.kind) for one in tested}
    return Experiment(file_safe(name), names, said, whole, tested, dict(heads or {}), tuple(notes))


def len_of(outputs: Outputs) -> int:
    """Returns the number of classes."""
    return outputs.logits.shape[-1]


def complete(
    table: pd.DataFrame | None, outputs: Mapping[str, Outputs], classes: Sequence[str], name: str
) -> pd.DataFrame:
    """Returns a set's table with all columns that an experiment's has.

    Args:
        table: What is known; None is nothing.
        outputs: By training method.
        classes: Their names.
        name: Of the set.

    Raises:
        ValueError: Rows or labels differ from those of the outputs.
    """
    first = next(iter(outputs.values()))
    n, index = len(first), np.asarray(first.labels)
    found = pd.DataFrame(index=range(n)) if table is None else table.reset_index(drop=True)
    for method, one in outputs.items():
        if len(one) != len(found) or not np.array_equal(np.asarray(one.labels), index):
            raise ValueError(f"{name}: {len(found)} rows of its table, {n} outputs, and {len(one)} of {method}; rows "
                             "and labels must agree.")  # fmt: skip
    of_outputs = np.array([*classes, UNKNOWN_CLASS], dtype=object)[index]
    label = pd.Series(of_outputs) if "label" not in found else _text(found["label"])
    differ = np.flatnonzero((index >= 0) & (label.to_numpy() != of_outputs))
    if len(differ):
        row = int(differ[0])
        raise ValueError(
            f"{name}: label {label[row]!r} in row {row} of the table, and class {of_outputs[row]!r} in the outputs "
            f"({len(differ)} of {n} differ). Give both in one order, and the classes in that of the logits."
        )
    columns = {column: _text(found[column]) if column in found else "" for column in TEXT}
    weight = found["loss_weight"].astype(float) if "loss_weight" in found else 1.0
    usual = "iid" if name in SOURCE_SPLITS else "named"
    kind = _text(found["kind"]).replace("", usual) if "kind" in found else usual
    file_name = _text(found["file_name"]) if "file_name" in found else columns["image_path"]
    return found.assign(**columns, label=label, loss_weight=weight, kind=kind, file_name=file_name)


TEXT: Final = ("domain", "subclass", "patient_id", "image_path")


def _by_method(said: Outputs | Mapping[str, Outputs]) -> Mapping[str, Outputs]:
    if not isinstance(said, Outputs):
        return dict(said)
    # What a network has beside its logits says which scores are about it.
    return {
        "deep_gamblers"
        if said.reservation is not None
        else "confidnet"
        if said.confidence is not None
        else "cross_entropy": said
    }


def _test_set(name: str, table: pd.DataFrame) -> TestSet:
    kinds = sorted(set(table["kind"]))
    if len(kinds) != 1 or kinds[0] not in KINDS:
        raise ValueError(f"{name}: one kind among {', '.join(KINDS)} is needed; got {', '.join(kinds)}.")
    if kinds[0] != "corruption":
        return TestSet(name, name, "none" if kinds[0] == "iid" else name, kinds[0])
    shift = str(table["shift"].iloc[0]) if "shift" in table else name
    level = int(table["level"].iloc[0]) if "level" in table else 1
    return TestSet(name, shift, shift, "corruption", level)


def _iid_first(name: str) -> tuple[bool, str]:
    return name != "iid_test", name


def _text(column: pd.Series) -> pd.Series:
    return column.fillna("").astype(str).reset_index(drop=True)
