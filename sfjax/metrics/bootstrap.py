"""Resampling by patient: as many patients as there are, drawn with replacement, all their images with them.

Images are sorted once, and each resample changes their weights alone, so that ties stay groups and nothing is sorted
again. All CSFs, metrics and networks of a set of images get the same resamples from the same key, so that differences
are paired (`sfjax.metrics.intervals`, `sfjax.metrics.compare`).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from sfjax.metrics.intervals import Estimate
from sfjax.metrics.scored import METRICS, Metric, Scored

VALUES_AT_ONCE: Final = 2**20
"""So many weighted images are evaluated at once, over CSFs and resamples; bounds the memory."""
MAX_DELETED: Final = 1024
"""The jackknife deletes patients one at a time up to so many; of more, it deletes so many blocks of them."""
SLOTS: Final = 256
"""Numbers of patients are rounded up to multiples of this, so that sets of similar size share a compilation."""


def resample_weights(
    key: Key[Array, ""], groups: Int[Array | np.ndarray, " n"], num_resamples: int
) -> Float[Array, "r n"]:
    """Returns how often each image is in each resample.

    Args:
        key: Draws them.
        groups: One code a patient, from 0 without gaps.
        num_resamples: How many.

    References:
        Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 8.
    """
    number, slots = _patients(groups, num_resamples)
    return _all_counts(key, number, slots, num_resamples)[:, jnp.asarray(groups)]


@functools.partial(jax.jit, static_argnums=(2, 3))
def _all_counts(key: Array, number: Array, slots: int, num_resamples: int) -> Float[Array, "r g"]:
    return _in_chunks(lambda one: _counts(one, number, slots), jax.random.split(key, num_resamples), 32)


def bootstrap(
    key: Key[Array, ""],
    images: Scored,
    groups: Int[Array | np.ndarray, " n"],
    *,
    num_resamples: int,
    metrics: Sequence[str] | Mapping[str, Metric] = tuple(METRICS),
    padding: int = 0,
) -> dict[str, Estimate]:
    """Returns each metric of each CSF, with its resamples and influences, over the CSFs on the first axis.

    The influence of a patient is the derivative of the metric with respect to the weight of the patient's images where
    the metric is smooth in it; else it is what deleting the patient changes (see `Metric.smooth`). Deleted are at most
    `MAX_DELETED` blocks of patients, in order of their codes modulo that number: the skewness of influences, which is
    all that BCa reads of them, has the same expectation for blocks.

    Args:
        key: Draws the resamples; the same for all that is to be compared.
        images: What each of s CSFs says, stacked.
        groups: One code a patient, from 0 without gaps, in the images' own order.
        num_resamples: How many, r.
        metrics: Names in `METRICS`, or metrics by name.
        padding: So many images at the end of the images' own order are not there.

    Raises:
        ValueError: Codes and padding that are not as many as the images, codes with gaps, no resamples, or a metric
            of no such name.
    """
    unknown = [] if isinstance(metrics, Mapping) else [name for name in metrics if name not in METRICS]
    if unknown:
        raise ValueError(f"There is no metric {', '.join(unknown)}. There are {', '.join(METRICS)}.")
    table = tuple((metrics if isinstance(metrics, Mapping) else {name: METRICS[name] for name in metrics}).items())
    n = len(groups)
    if images.failure.ndim != 2 or images.failure.shape[1] != n + padding:
        raise ValueError(
            f"The bootstrap reads CSFs stacked on a first axis, of as many images as codes and padding, {n + padding}; "
            f"got {images.failure.shape}."
        )
    number, slots = _patients(groups, num_resamples)
    codes = jnp.concatenate([jnp.asarray(groups, jnp.int32), jnp.full(padding, slots, jnp.int32)])
    at_once = max(VALUES_AT_ONCE // ((n + padding) * images.failure.shape[0]), 1)
    value, resamples = _resampled(key, images, codes, number, table, num_resamples, slots, min(at_once, 64))
    smooth = tuple((name, metric) for name, metric in table if metric.smooth)
    influence = _derivatives(images, codes, smooth, slots)
    if len(smooth) < len(table):
        rough = tuple(one for one in table if not one[1].smooth)
        influence |= _deleted(images, codes, rough, min(MAX_DELETED, slots), slots, min(at_once, 64))
    found = jax.tree.map(np.asarray, (value, resamples, influence))
    return {name: Estimate(*(part[name].astype(np.float64) for part in found)) for name, _ in table}


def _patients(groups: Int[Array | np.ndarray, " n"], num_resamples: int) -> tuple[Int[Array, ""], int]:
    codes = np.unique(np.asarray(groups))
    if codes.dtype.kind not in "iu" or not len(codes) or not np.array_equal(codes, np.arange(len(codes))):
        raise ValueError(
            f"Patients are coded by integers from 0 without gaps; got {codes[:5].tolist()}... of {codes.dtype}. "
            "numpy.unique(column, return_inverse=True)[1] makes such codes."
        )
    if num_resamples < 1:
        raise ValueError(f"A bootstrap needs resamples, 1000 as a rule; got {num_resamples}.")
    number = len(codes)
    return jnp.asarray(number, jnp.int32), -(-number // SLOTS) * SLOTS


def _counts(key: Key[Array, ""], number: Int[Array, ""], slots: int) -> Float[Array, " g"]:
    drawn = jax.random.randint(key, (slots,), 0, number)
    return jnp.zeros(slots, jnp.float32).at[drawn].add((jnp.arange(slots) < number).astype(jnp.float32))


def _in_chunks(function: Callable[[Array], Any], xs: Array, at_once: int) -> Any:
    """Returns what `jax.lax.map` would, so many at once; a last chunk of another size would compile anew."""
    number = xs.shape[0]
    chunks = -(-number // at_once)
    size = -(-number // chunks)
    filled = xs[jnp.minimum(jnp.arange(chunks * size), number - 1)].reshape(chunks, size)
    found = jax.lax.map(jax.vmap(function), filled)
    return jax.tree.map(lambda x: x.reshape(chunks * size, *x.shape[2:])[:number], found)


Table = tuple[tuple[str, Metric], ...]


def _values(images: Scored, weight: Float[Array, " n"], table: Table) -> dict[str, Float[Array, " s"]]:
    """Returns the metrics of each CSF under weights in the images' own order."""

    def of_csf(one: Scored) -> dict[str, Float[Array, ""]]:
        sorted_weight = weight[one.ordering.order]
        return {name: metric.value(one, sorted_weight) for name, metric in table}

    return jax.vmap(of_csf)(images)


def _last(values: dict[str, Array]) -> dict[str, Array]:
    return {name: jnp.moveaxis(value, 0, -1) for name, value in values.items()}


@functools.partial(jax.jit, static_argnums=(4, 5, 6, 7))
def _resampled(
    key: Array, images: Scored, codes: Array, number: Array, table: Table, num_resamples: int, slots: int, at_once: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    there = (codes < slots).astype(jnp.float32)

    def of_resample(one: Array) -> dict[str, Array]:
        counts = jnp.concatenate([_counts(one, number, slots), jnp.zeros(1, jnp.float32)])
        return _values(images, counts[codes], table)

    keys = jax.random.split(key, num_resamples)
    return _values(images, there, table), _last(_in_chunks(of_resample, keys, at_once))


@functools.partial(jax.jit, static_argnums=(2, 3))
def _derivatives(images: Scored, codes: Array, table: Table, slots: int) -> dict[str, Array]:
    there = (codes < slots).astype(jnp.float32)

    def of_csf(one: Scored) -> dict[str, Array]:
        order = one.ordering.order
        found = {}
        for name, metric in table:
            slope = jax.grad(lambda weight, metric=metric: metric.value(one, weight))(there[order])
            found[name] = jax.ops.segment_sum(slope, codes[order], slots + 1)[:slots]
        return found

    influence = jax.vmap(of_csf)(images)
    # Slots without a patient have no influence rather than one of 0.
    filled = jnp.zeros(slots + 1).at[codes].add(1.0)[:slots] > 0
    return {name: jnp.where(filled, value, jnp.nan) for name, value in influence.items()}


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _deleted(images: Scored, codes: Array, table: Table, blocks: int, slots: int, at_once: int) -> dict[str, Array]:
    there = (codes < slots).astype(jnp.float32)
    block = codes % blocks
    filled = jnp.zeros(blocks).at[block].add(there) > 0

    def without(deleted: Array) -> dict[str, Array]:
        return _values(images, jnp.where(block == deleted, 0, there), table)

    values = _last(_in_chunks(without, jnp.arange(blocks, dtype=jnp.int32), at_once))
    # What is lost by deleting is what the patients had contributed.
    return {name: jnp.where(filled, -value, jnp.nan) for name, value in values.items()}
