"""Which images to draw when there are more than a view can hold: failures first, then every group in proportion."""

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped


def stratified_sample(
    groups: Shaped[np.ndarray, " n"], size: int, seed: int, *, keep: Bool[np.ndarray, " n"] | None = None
) -> Int[np.ndarray, " m"]:
    """Returns the positions of at most `size` images, in ascending order.

    Images to keep fill up to half of the sample, more where there are too few others; the rest is drawn from all groups
    in proportion to their size, at least one of each where they fit.

    Args:
        groups: The stratum of every image, such as its test set and label.
        size: How many images at most.
        seed: Same seed, same sample.
        keep: Images that are rare and matter, such as failures.

    Example:
        >>> import numpy as np
        >>> groups = np.array(["a"] * 8 + ["b"] * 2)
        >>> np.unique(groups[stratified_sample(groups, 5, 0)], return_counts=True)[1]
        array([4, 1])
    """
    if size < 1:
        raise ValueError(f"A sample needs a size of at least 1; got {size}.")
    n = len(groups)
    if n <= size:
        return np.arange(n)
    rng = np.random.default_rng(seed)
    codes = np.unique(groups, return_inverse=True)[1]
    if keep is None:
        return np.sort(_draw(codes, np.arange(n), size, rng))
    kept, others = np.flatnonzero(keep), np.flatnonzero(~keep)
    num_kept = min(len(kept), max(size // 2, size - len(others)))
    chosen = [_draw(codes, kept, num_kept, rng), _draw(codes, others, size - num_kept, rng)]
    return np.sort(np.concatenate(chosen))


def sample_first(
    groups: Shaped[np.ndarray, " n"],
    failure: Bool[np.ndarray, " n"],
    first: Int[np.ndarray, " f"],
    size: int,
    seed: int,
) -> Int[np.ndarray, " m"]:
    """Returns the positions of at most `size` images, in ascending order: some first, then failures, then the rest.

    Args:
        groups: The stratum of every image.
        failure: Images that are kept as by `stratified_sample`.
        first: Positions of images that come before all others; they fill half of the sample at most.
        size: How many images at most.
        seed: Same seed, same sample.
    """
    n = len(groups)
    if n <= size:
        return np.arange(n)
    half = size // 2
    if len(first) > half:
        first = first[stratified_sample(groups[first], half, seed)] if half else first[:0]
    others = np.setdiff1d(np.arange(n), first)
    drawn = stratified_sample(groups[others], size - len(first), seed, keep=failure[others])
    return np.sort(np.concatenate([first, others[drawn]]))


def sample_weights(
    groups: Shaped[np.ndarray, " n"], failure: Bool[np.ndarray, " n"], chosen: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """Returns how many images each one stands for: those of its group and outcome over those of them sampled.

    Args:
        groups: The stratum of every image.
        failure: Its outcome.
        chosen: Positions of the sampled images.
    """
    cell = np.unique(np.stack([np.unique(groups, return_inverse=True)[1], failure]), axis=1, return_inverse=True)[1]
    there, sampled = np.bincount(cell), np.bincount(cell[chosen], minlength=cell.max() + 1)
    return (there / np.maximum(sampled, 1))[cell]


def _draw(
    codes: Int[np.ndarray, " n"], candidates: Int[np.ndarray, " m"], size: int, rng: np.random.Generator
) -> Int[np.ndarray, " s"]:
    """Returns `size` of the candidates, every group by the method of largest remainders."""
    if size >= len(candidates):
        return candidates
    present, of_candidate = np.unique(codes[candidates], return_inverse=True)
    counts = np.bincount(of_candidate)
    share = counts * size / counts.sum()
    quota = np.floor(share).astype(np.int64)
    # Ties among remainders fall to chance, or small groups that sort last would never be drawn.
    order = np.lexsort((rng.random(len(present)), -(share - quota)))
    quota[order[: size - int(quota.sum())]] += 1
    if size >= len(present):
        quota = np.maximum(quota, 1)
        while quota.sum() > size:
            quota[quota.argmax()] -= 1
    shuffled = rng.permutation(len(candidates))
    rank = np.empty(len(candidates), dtype=np.int64)
    for group in range(len(present)):
        members = shuffled[of_candidate[shuffled] == group]
        rank[members] = np.arange(len(members))
    return candidates[rank < quota[of_candidate]]
