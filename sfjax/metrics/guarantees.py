"""Thresholds that come with a promise: the risk on new images stays below a target, whatever the score is worth.

An image is accepted if its score is *above* the threshold: -inf accepts every image of a finite score, +inf accepts
none, and images of equal score go together, so that no result depends on the order of its input. The promises:

| function | risk | the promise, over calibration sets |
|---|---|---|
| `sgr_threshold` | selective, of failures | risk <= target in a share of at least 1 - delta of them |
| `ltt_threshold` | selective, of failures or costs | risk <= target in a share of at least 1 - delta of them |
| `crc_threshold` | generalized, of failures or costs | mean risk <= target |

They hold where the images of calibration and the new ones are independent draws of one population (for `crc`, at least
exchangeable): not under a shift, and not where a patient has several images (`one_per_patient`). The images of
calibration have served for nothing else, neither training nor the choice of a score. That no threshold keeps the
promise is a result, not an error: `Guarantee.exists`.

Each call fits one number on the host, in NumPy's float64.
"""

import math
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, Shaped
from scipy.special import bdtr, betainccinv, rel_entr

from sfjax.metrics.ordering import PerImage, check_lengths

NONE: Final = math.inf
"""The threshold that accepts no image."""


class Guarantee(NamedTuple):
    """A threshold, what is promised of it, and what it does on the images of calibration.

    Attributes:
        kind: `sgr` and `ltt` promise the selective risk, `crc` the mean generalized risk.
        threshold: Images above it are accepted; +inf where no threshold keeps the promise.
        target: The promised risk, in units of the loss.
        delta: Highest chance that the promise is broken; NaN for `crc`, whose promise is of a mean.
        coverage: Accepted share of the n images; 0 where there is no threshold.
        risk: Selective (`sgr`, `ltt`) or generalized (`crc`) on the n images; NaN where there is no threshold.
        bound: What was held against the target: the upper confidence bound (`sgr`), the target itself (`ltt`), the
            risk with one more image of the largest loss (`crc`); NaN where there is no threshold.
        n: Number of images of calibration.
    """

    kind: Literal["sgr", "ltt", "crc"]
    threshold: float
    target: float
    delta: float
    coverage: float
    risk: float
    bound: float
    n: int

    @property
    def exists(self) -> bool:
        """Whether a threshold that accepts any of the images was found."""
        return self.threshold < NONE


def sgr_threshold(
    score: PerImage, failure: PerImage, *, target: float, delta: float = 0.05, reference_delta: bool = False
) -> Guarantee:
    """Returns a low threshold with selective risk at most `target`, by selection with guaranteed risk (SGR).

    A bisection over the sorted scores tries at most ceil(log2 n) + 1 of them, each with the exact binomial bound at its
    share of delta, and the lowest that held is the result. A threshold is itself the score of an image: given it, the
    images strictly above are independent draws of what will be accepted, and that image is none, so it is not counted.

    As in the source, the union bound reads the thresholds that were tried as fixed beforehand, though where the
    bisection goes depends on the failures; `ltt_threshold` needs no such reading.

    FD-Shifts differs: its threshold is the lowest score that it counted, one image above this one; it returns the last
    step even where the bound of that is above the target; it never tries to accept all images; and it cuts ties.

    Args:
        score: Higher is surer.
        failure: Whether the prediction is wrong.
        target: Highest selective risk, in (0, 1].
        delta: Highest chance that the promise is broken, in (0, 1).
        reference_delta: Share delta among ceil(log2 n) steps, as Geifman's code and FD-Shifts do: enough there, one too
            few here, where accepting all images is tried as well.

    Raises:
        ValueError: A failure is neither 0 nor 1, something is NaN or out of its range, or the lengths differ.

    Example:
        >>> import numpy as np
        >>> found = sgr_threshold(np.arange(100.0), np.arange(100) < 30, target=0.1)
        >>> found.threshold, found.coverage, found.bound <= 0.1
        (28.0, 0.71, True)

    References:
        Geifman and El-Yaniv, Selective classification for deep neural networks, NeurIPS 2017, algorithm 1.
    """
    images = _sorted(score, failure, None, target, name="failure")
    _check_delta(delta)
    n = len(images.score)
    thresholds = np.concatenate([[-math.inf], images.score])  # at place i, the images from i on are above, but for ties
    accepted, failures = images.above(thresholds)
    steps = math.ceil(math.log2(n)) + (not reference_delta)

    def bound(place: int) -> float:
        return float(binomial_upper(failures[place], accepted[place], delta / max(steps, 1)))

    # To accept nothing keeps any promise; it comes up within a tie of the highest score, and leads the bisection below.
    place = bisection(n, lambda place: accepted[place] == 0 or bound(place) <= target)
    return images.guarantee("sgr", float(thresholds[place]), target, delta, bound(place))


def ltt_threshold(
    score: PerImage,
    loss: PerImage,
    *,
    target: float,
    delta: float = 0.05,
    candidates: Shaped[Array | np.ndarray, " k"],
    bound: float | None = None,
    chains: int = 5,
) -> Guarantee:
    """Returns the lowest of the candidates that tests show to have selective risk at most `target`: learn then test.

    Above a threshold that was stated beforehand the losses are independent draws, so the p-value of "the risk is above
    the target" is valid. Candidates are tested from the highest down, until the first that is not shown, in several
    chains with an equal share of delta: one that started at the highest alone would end there, for want of images.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        target: Highest selective risk, in units of the loss, at most `bound`.
        delta: Highest chance that the promise is broken, in (0, 1).
        candidates: Thresholds that owe nothing to these images; as a rule quantiles of the validation scores.
        bound: The largest loss there can be, stated beforehand. Left out for failures, whose test is exact; with it,
            the test is `hoeffding_bentkus`.
        chains: How many starting points, evenly spaced among the candidates.

    Raises:
        ValueError: A loss lies outside 0 and `bound`, something is NaN or out of its range, or the lengths differ.

    Example:
        >>> import numpy as np
        >>> score, failure = np.arange(100.0), np.arange(100) < 30
        >>> ltt_threshold(score, failure, target=0.1, candidates=np.array([20.0, 29.0, 40.0, 80.0])).threshold
        29.0

    References:
        Angelopoulos et al., Learn then test: calibrating predictive algorithms to achieve risk control, AOAS 2025.
    """
    images = _sorted(score, loss, bound, target)
    _check_delta(delta)
    thresholds = np.unique(np.asarray(candidates, np.float64))[::-1]
    if thresholds.size == 0 or np.isnan(thresholds).any():
        raise ValueError(f"Candidates must be numbers, one at least; got {candidates}. Give quantiles of other scores.")
    if chains < 1:
        raise ValueError(f"There must be at least one chain of tests; got {chains}. 5 is the default.")
    accepted, lost = images.above(thresholds)
    # Which test it is must not depend on the losses that were drawn: it depends on whether a bound was stated.
    if bound is None:
        p = np.where(accepted > 0, bdtr(lost, accepted, target), 1.0)
    else:
        p = hoeffding_bentkus(lost / np.maximum(accepted, 1) / bound, accepted, target / bound)
    starts = np.unique(np.arange(chains) * thresholds.size // chains)
    shown = p <= delta / len(starts)
    ends = [start + int(np.argmin(np.append(shown[start:], False))) for start in starts]
    last = max((end - 1 for start, end in zip(starts, ends, strict=True) if end > start), default=None)
    return images.guarantee("ltt", NONE if last is None else float(thresholds[last]), target, delta, target)


def crc_threshold(score: PerImage, loss: PerImage, *, target: float, bound: float | None = None) -> Guarantee:
    """Returns the lowest threshold whose generalized risk is at most `target` in the mean: conformal risk control.

    It is the lowest at which the accepted losses, with one more image of the largest loss, are at most `target` an
    image. The mean is over calibration sets; the risk that comes of the set at hand may lie above. One that accepts
    none of these images is not returned, though a surer one might come.

    Args:
        score: Higher is surer.
        loss: Whether the image is a failure, or a cost from 0 up.
        target: Highest mean of the accepted losses over all images, in units of the loss, at most `bound`.
        bound: The largest loss there can be, stated beforehand; 1 for failures.

    Raises:
        ValueError: A loss lies outside 0 and `bound`, something is NaN or out of its range, or the lengths differ.

    Example:
        >>> import numpy as np
        >>> found = crc_threshold(np.arange(9.0), np.arange(9) < 3, target=0.2)  # (1 + 1) / (9 + 1)
        >>> found.threshold, found.bound
        (1.0, 0.2)

    References:
        Angelopoulos et al., Conformal risk control, ICLR 2024.
    """
    images = _sorted(score, loss, bound, target)
    thresholds = np.concatenate([[-math.inf], np.unique(images.score)])
    _, lost = images.above(thresholds)
    corrected = (lost + images.bound) / (len(images.score) + 1)
    first = int(np.argmax(corrected <= target))
    holds = corrected[first] <= target
    threshold = float(thresholds[first]) if holds else NONE
    return images.guarantee("crc", threshold, target, math.nan, float(corrected[first]))


def one_per_patient(groups: Shaped[Array | np.ndarray, " n"], *, seed: int) -> Int[np.ndarray, " g"]:
    """Returns the sorted indices of one image of each patient, drawn uniformly.

    Images of one patient are not exchangeable with those of another: they share what makes a patient easy or hard, so a
    promise made from them as though they were independent is broken too often. With one image each, the promise is
    of an image of a new patient. Each image draws a number and the patient's highest stays, so that the result depends
    on the seed and on the order of the images, and not on how patients are coded.

    Args:
        groups: The patient of each image, in any code.
        seed: Of NumPy's generator.

    Example:
        >>> import numpy as np
        >>> one_per_patient(np.array(["a", "b", "c", "b"]), seed=0).size
        3
    """
    check_lengths(groups=groups)
    _, patient = np.unique(np.asarray(groups), return_inverse=True)
    order = np.lexsort((-np.random.default_rng(seed).random(len(patient)), patient))
    return np.sort(order[np.unique(patient[order], return_index=True)[1]])


def bisection(n: int, holds: Callable[[int], bool]) -> int:
    """Returns the lowest place below `n` that held of those that SGR tries, or `n` where none did.

    Places are those of the images by rising score; to hold there is to accept the images from it on. The two ends come
    last. At most ceil(log2 n) + 1 places are tried.

    Args:
        n: Number of images, at least 1.
        holds: Whether the bound at a place is at most the target; where it is, the next place tried is lower.
    """
    low, high = 0, n - 1
    while high - low > 1:
        middle = (low + high + 1) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return next((place for place in (low, high) if holds(place)), n)


def binomial_upper(
    failures: Shaped[np.ndarray | np.generic, "*shape"] | int,
    n: Shaped[np.ndarray | np.generic, "*shape"] | int,
    delta: float,
) -> Float[np.ndarray, "*shape"]:
    """Returns the highest failure rate at which so few failures have a chance of `delta`; 1 of no images.

    Args:
        failures: How many of the images fail.
        n: Number of images.
        delta: Highest chance that the true rate lies above.

    Example:
        >>> round(float(binomial_upper(0, 59, 0.05)), 4)  # 1 - 0.05^(1/59)
        0.0495

    References:
        Clopper and Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial,
        Biometrika 1934.
    """
    wrong = np.asarray(failures, np.float64)
    right = np.asarray(n, np.float64) - wrong
    return np.where(right > 0, betainccinv(wrong + 1, np.maximum(right, 1), delta), 1.0)


def hoeffding_bentkus(
    mean: Shaped[np.ndarray | np.generic, "*shape"] | float,
    n: Shaped[np.ndarray | np.generic, "*shape"] | int,
    target: float,
) -> Float[np.ndarray, "*shape"]:
    """Returns p-values of the hypothesis that losses in [0, 1] have a mean above `target`: low speaks against it.

    The lower of Hoeffding's `exp(-n KL(min(mean, target), target))` and Bentkus's
    `e P(Bin(n, target) <= ceil(n mean))`, at most 1; 1 of no losses.

    Args:
        mean: Of the losses that were drawn.
        n: How many were drawn.
        target: In (0, 1].

    Example:
        >>> round(float(hoeffding_bentkus(0.0, 20, 0.2)), 4)  # 0.8^20
        0.0115

    References:
        Bates et al., Distribution-free, risk-controlling prediction sets, J. ACM 2021; Angelopoulos et al., Learn then
        test: calibrating predictive algorithms to achieve risk control, AOAS 2025.
    """
    n, mean = np.asarray(n), np.asarray(mean, np.float64)
    number, below = np.maximum(n, 1), np.minimum(mean, target)
    hoeffding = np.exp(-number * (rel_entr(below, target) + rel_entr(1 - below, 1 - target)))
    bentkus = math.e * bdtr(np.ceil(number * mean), number, target)
    return np.where(n > 0, np.minimum(np.minimum(hoeffding, bentkus), 1), 1.0)


class _Images(NamedTuple):
    """Images of calibration by rising score, and of equal score by rising loss, with the largest loss there can be."""

    score: Float[np.ndarray, " n"]
    loss: Float[np.ndarray, " n"]
    bound: float

    def above(self, thresholds: Float[np.ndarray, " k"]) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Returns how many images lie above each threshold, and the sum of their losses."""
        accepted = len(self.score) - np.searchsorted(self.score, thresholds, side="right")
        return accepted, np.concatenate([[0.0], np.cumsum(self.loss[::-1])])[accepted]

    def guarantee(
        self, kind: Literal["sgr", "ltt", "crc"], threshold: float, target: float, delta: float, bound: float
    ) -> Guarantee:
        """Returns the promise, or that there is none where the threshold accepts no image."""
        n = len(self.score)
        (accepted,), (lost,) = self.above(np.array([threshold]))
        if accepted == 0:
            return Guarantee(kind, NONE, target, delta, 0.0, math.nan, math.nan, n)
        risk = lost / (n if kind == "crc" else accepted)
        return Guarantee(kind, threshold, target, delta, float(accepted / n), float(risk), bound, n)


def _sorted(score: PerImage, loss: PerImage, bound: float | None, target: float, *, name: str = "loss") -> _Images:
    """Returns the images in order, checked; with no bound, every loss must be 0 or 1."""
    check_lengths(**{"score": score, name: loss})
    score, loss = np.asarray(score, np.float64), np.asarray(loss, np.float64)
    for what, values in (("score", score), (name, loss)):
        if np.isnan(values).any():
            raise ValueError(
                f"A promise needs defined numbers; {what} is NaN for {np.isnan(values).sum()} of {len(values)} images. "
                "Leave those images out, or find out why."
            )
    if bound is None and not np.isin(loss, (0, 1)).all():
        odd = loss[~np.isin(loss, (0, 1))][0]
        remedy = (
            "Costs have `ltt_threshold`."
            if name == "failure"
            else "State as `bound` the largest loss there can be, known without these images."
        )
        raise ValueError(f"Each {name} must be 0 or 1 where no bound is stated; got {odd}. {remedy}")
    largest = 1.0 if bound is None else float(bound)
    if not 0 < largest < math.inf:
        raise ValueError(f"The largest loss there can be must be positive and finite; got bound={bound}.")
    outside = loss[(loss < 0) | (loss > largest)]
    if outside.size:
        raise ValueError(
            f"A loss must lie between 0 and the bound {largest}; got {outside[0]}. State one that no loss can exceed."
        )
    if not 0 < target <= largest:
        raise ValueError(
            f"The target must be above 0 and at most the largest loss, {largest}; got {target}. It has the loss's unit."
        )
    order = np.lexsort((loss, score))
    return _Images(score[order], loss[order], largest)


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"The chance that the promise is broken must lie between 0 and 1, such as 0.05; got {delta}.")
