import jax
import jax.numpy as jnp
import numpy as np

from sfjax import keys


def data(key: jax.Array) -> list[int]:
    return np.asarray(jax.random.key_data(key)).tolist()


def test_streams_are_told_apart_by_name_and_order():
    key = jax.random.key(0)
    streams = [data(keys.stream(key, *names)) for names in (("a",), ("b",), ("a", "b"), ("b", "a"), ("a", 0), ("a", 1))]
    assert len({tuple(stream) for stream in streams}) == len(streams)
    assert data(keys.stream(key, "a", "b")) == data(keys.stream(keys.stream(key, "a"), "b"))


def test_an_image_keeps_its_key_wherever_it_stands():
    ids = jnp.array([7, 2**32 - 1, 3], jnp.uint32)
    forward = data(keys.per_image(jax.random.key(1), ids))
    backward = data(keys.per_image(jax.random.key(1), ids[::-1]))
    assert forward == backward[::-1]
    assert len({tuple(key) for key in forward}) == 3
