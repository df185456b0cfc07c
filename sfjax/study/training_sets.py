"""What sets of networks are trained on: parts of a prepared task's images, and what is held out of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from sfjax.data.preparation import PREPARATIONS
from sfjax.data.preparation.base import TrainingSet


class OfTask(NamedTuple):
    """A training set and the task whose images it is a part of."""

    task: str
    chosen: TrainingSet


TRAINING_SETS: Final[Mapping[str, OfTask]] = MappingProxyType(
    {
        f"{task}_{chosen.name}": OfTask(task, chosen)
        for task, preparation in PREPARATIONS.items()
        for chosen in preparation.training_sets.values()
    }
)
"""All training sets, `TASK_NAME`."""

_RUN: Final = (
    *("dermoscopyall", "dermoscopyallbutbarcelona", "dermoscopyallbutmskcc"),
    *("dermoscopyallham10000subclass", "dermoscopyallham10000multi"),
    *("xray_chestall", "xray_chestallbutchexpert", "xray_chestallbutnih14"),
    *("rxrx1all", "rxrx1all_large_set1", "rxrx1all_large_set2"),
    *("lidc_idriall", "lidc_idriall_calcification_iid", "lidc_idriall_spiculation_iid", "lidc_idriall_texture_iid"),
)
"""What the study ran, by its own names."""

STUDY: Final = tuple(
    name for wanted in _RUN for name, of_task in TRAINING_SETS.items() if of_task.chosen.study_name == wanted
)
"""The study's training sets, in its order; the others were prepared by it and not run, or are not its own."""

CORRUPTIONS: Final = ("brightness", "darkness", "motion_blur", "elastic", "gaussian_noise", "letter")
"""What the study did to i.i.d. test images; which of them to a training set's is in `TrainingSet.corruptions`."""
