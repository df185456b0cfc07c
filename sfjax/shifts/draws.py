"""Normal numbers for many pixels: JAX's own, several times faster on a CPU, and others from half as many bits."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt32

from sfjax.shifts.batching import in_turn_on_a_cpu

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def normal(key: Key[Array, ""], like: Float[Array, "h w k"]) -> Float[Array, "h w k"]:
    """Returns the numbers of `jax.random.normal` in the shape of `like`, bit for bit for float32 and usual keys."""
    if like.dtype != jnp.float32 or str(jax.random.key_impl(key)) != "threefry2x32":
        return jax.random.normal(key, like.shape, like.dtype)
    first, second = _threefry(jax.random.key_data(key), jnp.arange(like.size, dtype=jnp.uint32))
    bits = (first ^ second).reshape(like.shape)
    # 23 bits make a number in [1, 2), as in `jax.random.uniform`, and that one in the open interval from -1 to 1.
    number = jax.lax.bitcast_convert_type((bits >> np.uint32(9)) | np.uint32(0x3F800000), jnp.float32) - 1
    low = np.nextafter(np.float32(-1), np.float32(0))
    uniform = jnp.maximum(low, number * (np.float32(1) - low) + low)
    return np.float32(np.sqrt(2)) * jax.lax.erf_inv(uniform)


def coarse_normal(key: Key[Array, ""], like: Float[Array, "h w k"]) -> Float[Array, "h w k"]:
    """Returns normal numbers from 16 random bits each, up to 4.3 standard deviations, in the shape of `like`.

    Drawing bits is most of the time that noise takes.
    """
    count = -(-like.size // 4)
    if str(jax.random.key_impl(key)) == "threefry2x32":
        words = jnp.concatenate(_threefry(jax.random.key_data(key), jnp.arange(count, dtype=jnp.uint32)))
    else:
        words = jax.random.bits(key, (2 * count,), jnp.uint32)
    halves = jnp.concatenate([words & np.uint32(0xFFFF), words >> np.uint32(16)])[: like.size].reshape(like.shape)
    uniform = (halves.astype(like.dtype) + 0.5) / 2**15 - 1
    return jnp.sqrt(jnp.asarray(2, like.dtype)) * jax.lax.erf_inv(uniform)


@in_turn_on_a_cpu
def _threefry(key: UInt32[Array, "2"], counts: UInt32[Array, " n"]) -> tuple[UInt32[Array, " n"], UInt32[Array, " n"]]:
    """Returns two random words for each count below 2^32: JAX's generator, with its rounds written out.

    JAX has a loop over rounds on a CPU, which writes all words to memory each time.

    References:
        Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.
    """
    keys = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    first, second = jnp.zeros_like(counts) + keys[0], counts + keys[1]
    for block in range(5):
        for distance in _ROTATIONS[block % 2]:
            first = first + second
            second = first ^ ((second << np.uint32(distance)) | (second >> np.uint32(32 - distance)))
        first = first + keys[(block + 1) % 3]
        second = second + keys[(block + 2) % 3] + np.uint32(block + 1)
    return first, second
