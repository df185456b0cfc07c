"""An image's values between its pixels, and linear combinations of its rows and columns."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sfjax.shifts.batching import in_turn_on_a_cpu


def bilinear(
    image: Float[Array, "h w k"], rows: Float[Array, "i j"], columns: Float[Array, "i j"]
) -> Float[Array, "i j k"]:
    """Returns the image at the given places, linear between pixels, with edges repeated.

    Args:
        image: At least 2 pixels a side.
        rows: From 0 at the first row's center to h - 1; places outside are taken to the edge.
        columns: Likewise.
    """
    h, w, _ = image.shape
    y, x = jnp.clip(rows, 0, h - 1), jnp.clip(columns, 0, w - 1)
    top, left = jnp.minimum(jnp.floor(y), h - 2), jnp.minimum(jnp.floor(x), w - 2)
    # The square of four ends at the last pixel, whose weight is then 1: every neighbor that is read exists.
    dy, dx = (y - top)[..., None], (x - left)[..., None]
    index = top.astype(jnp.int32) * w + left.astype(jnp.int32)
    return _between(image, index, dy, dx)


@in_turn_on_a_cpu
def _between(
    image: Float[Array, "h w k"], index: Int[Array, "i j"], dy: Float[Array, "i j 1"], dx: Float[Array, "i j 1"]
) -> Float[Array, "i j k"]:
    """Returns values between four pixels, of which `index` is the first among all."""
    h, w, k = image.shape
    flat = image.reshape(h * w, k)

    def pixel(offset: int) -> Float[Array, "i j k"]:
        return flat.at[index + offset].get(mode="promise_in_bounds")

    upper = pixel(0) + dx * (pixel(1) - pixel(0))
    lower = pixel(w) + dx * (pixel(w + 1) - pixel(w))
    return upper + dy * (lower - upper)


@in_turn_on_a_cpu
def along_both_axes(
    image: Float[Array, "h w k"], rows: Float[Array, "i h"], columns: Float[Array, "j w"]
) -> Float[Array, "i j k"]:
    """Returns `rows @ channel @ columns.T` of every channel.

    Args:
        image: The image.
        rows: Weights of the image's rows in each row of the result.
        columns: Likewise of its columns.
    """
    below = jnp.tensordot(rows, image, axes=1, precision="highest")
    return jnp.einsum("jw,iwk->ijk", columns, below, precision="highest")
