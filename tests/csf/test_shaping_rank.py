"""Features are pruned and scaled by a rank that is found without sorting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax.csf import shaped
from sfjax.outputs import Head


@pytest.mark.parametrize("d", [1, 2, 7, 64, 1111])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.85, 0.9, 0.999])
def test_the_largest_features_are_those_at_least_the_quantile(d, share):
    active = np.maximum(np.random.default_rng(d).standard_normal((40, d)), 0).astype(np.float32)
    active[:10] = np.round(active[:10], 1)  # ties
    active[10], active[11] = -0.0, 3e38
    learned = shaped.Shaping(Head(jnp.ones((d, 2)), jnp.ones(2)), jnp.asarray(share, jnp.float32))
    found = jax.vmap(lambda row: shaped._scaled(learned, row)[1])(jnp.asarray(active))
    expected = active >= np.quantile(active.astype(np.float64), np.float32(share), axis=-1, keepdims=True)
    np.testing.assert_array_equal(found, expected)


def test_a_rank_is_a_place_in_the_sorted_numbers():
    numbers = np.random.default_rng(0).exponential(size=100).astype(np.float32)
    numbers[:5] = 0.0
    for rank in (0, 4, 5, 50, 99):
        assert float(shaped._of_rank(jnp.asarray(numbers), jnp.asarray(rank, jnp.int32))) == np.sort(numbers)[rank]
