"""How many images and patients a number rests on: what says whether its interval, or a difference, can be believed."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from sfjax.data import patient_groups
from sfjax.metrics.scored import SILENT_ABOVE
from sfjax.study.evaluation import Evaluated

FEW_FAILURES: Final = 30
"""Below so many patients with a failure, or with a success, intervals are too narrow: rows are marked."""
FEW_DISCORDANT: Final = 10
"""Two CSFs that disagree on fewer patients are not said to differ in a rate: chance does that too often."""
BASELINE: Final = "msr"


def baseline(csfs: Sequence[str]) -> str:
    """Returns the CSF that the others are compared with: `msr`, or the first where it is not among them."""
    return BASELINE if BASELINE in csfs else csfs[0]


class Evidence(NamedTuple):
    """How many images and patients numbers rest on; arrays of networks x CSFs.

    Attributes:
        failures: Images that fail.
        rarer: By event (`failure`, `silent`, `accepted`): patients on whom it happens, or does not if those are fewer.
        discordant: By event: patients on whom it happens by this CSF and not by the baseline, or the other way round.
        patients: How many there are, shape ().
    """

    failures: np.ndarray
    rarer: dict[str, np.ndarray]
    discordant: dict[str, np.ndarray]
    patients: np.ndarray


EVENT: Final = {
    **dict.fromkeys(("silent_failure_rate", "silent_cost"), "silent"),
    **dict.fromkeys(("accepted_failure_rate", "accepted_cost"), "accepted"),
}
"""What has to happen for a metric to have something to count, where it is not just any failure."""


def evidence(
    per_seed: Sequence[Evaluated], accepted_above: Sequence[np.ndarray], images: pd.DataFrame, csfs: Sequence[str]
) -> Evidence:
    """Returns how many images and patients the numbers of every network and CSF rest on."""
    patients = patient_groups(images)
    order = np.argsort(patients, kind="stable")
    starts = np.flatnonzero(np.diff(patients[order], prepend=-1))
    failure = np.stack([one.predicted != one.labels for one in per_seed])
    probability, score = (np.stack([getattr(one, name) for one in per_seed]) for name in ("probability", "score"))
    above = np.stack(accepted_above)[:, :, None]
    events = {
        "failure": failure,
        "silent": failure & (probability > SILENT_ABOVE),
        "accepted": failure & (score > above),
    }

    def of_patients(event: np.ndarray) -> np.ndarray:
        return np.logical_or.reduceat(event[:, :, order], starts, axis=-1).sum(-1)

    held_against = csfs.index(baseline(csfs))
    return Evidence(
        failures=failure.sum(-1),
        rarer={name: np.minimum(of_patients(event), of_patients(~event)) for name, event in events.items()},
        discordant={name: of_patients(event != event[:, [held_against]]) for name, event in events.items()},
        patients=np.asarray(len(starts)),
    )
