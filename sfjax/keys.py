"""Named streams of random keys, so that adding one use of randomness moves nobody else's numbers."""

import zlib

import jax
from jaxtyping import Array, Key, UInt32


def stream(key: Key[Array, ""], *names: str | int) -> Key[Array, ""]:
    """Returns the key of the stream that `names` spell out below `key`.

    Args:
        key: A typed key (`jax.random.key`).
        *names: What the numbers are for, from general to special, such as `"train", "augment", epoch`.

    Example:
        >>> import jax
        >>> a, b = (stream(jax.random.key(0), name) for name in ("dropout", "shuffle"))
        >>> bool((jax.random.bits(a) == jax.random.bits(b)).item())
        False
    """
    for name in names:
        key = jax.random.fold_in(key, zlib.crc32(name.encode()) if isinstance(name, str) else name)
    return key


def per_image(key: Key[Array, ""], image_ids: UInt32[Array, " n"]) -> Key[Array, " n"]:
    """Returns one key an image, shape (n,), that depends on the image's id and not on where it stands in a batch.

    Args:
        key: The stream's key.
        image_ids: One number an image, from the content of the image (see `sfjax.data`).
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, image_ids)
