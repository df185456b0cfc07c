"""DenseNet: every dense layer drops, and the first one is the prefix's."""

import jax
import jax.numpy as jnp
import networks
import pytest

from sfjax.models import densenet

LAYERS = ("blocks_0_0", "blocks_0_1", "blocks_1_0")
CLASSIFIER = networks.small("densenet")


@pytest.fixture(scope="module")
def variables():
    return networks.filled(CLASSIFIER, channels=2)


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(networks.images(35, 33, 2))


def without(variables, layer: str):
    """Returns variables with which a dense layer adds zeros."""
    kernel = jnp.zeros_like(variables["params"][layer]["conv2"]["kernel"])
    layer_without = {**variables["params"][layer], "conv2": {"kernel": kernel}}
    return {**variables, "params": {**variables["params"], layer: layer_without}}


@pytest.mark.parametrize("layer", [*LAYERS, None])
def test_every_dense_layer_drops(variables, images, layer):
    for other in LAYERS:
        if other != layer:  # nothing is left there that could be dropped
            variables = without(variables, other)
    plain = networks.heads(CLASSIFIER, variables, images)
    dropped = networks.heads(CLASSIFIER, variables, images, jax.random.split(jax.random.key(0), 2))
    difference = float(jnp.abs(plain.logits - dropped.logits).max())
    assert difference > 1e-3 if layer else difference < 1e-5


def test_layers_have_masks_of_their_own(variables, images, monkeypatch):
    numbers, original = [], densenet.mask_keys
    monkeypatch.setattr(densenet, "mask_keys", lambda keys, layer: numbers.append(layer) or original(keys, layer))

    def passes(variables, keys):
        return CLASSIFIER.suffix(variables, CLASSIFIER.prefix(variables, images), keys)

    traced = str(jax.make_jaxpr(passes)(variables, jax.random.split(jax.random.key(1), 2)))
    assert traced.count("random_bits[") == len(LAYERS) and sorted(numbers) == [0, 1, 2]


def test_the_prefix_ends_at_the_first_mask(variables, images):
    stem, first = CLASSIFIER.prefix(variables, images)
    assert stem.shape == (2, 9, 9, 16) and first.shape == (2, 9, 9, 8)
    assert not CLASSIFIER.prefix(without(variables, LAYERS[0]), images)[1].any()
    # The suffix does not compute the first layer, and it does the second.
    suffix = jax.jit(CLASSIFIER.suffix)
    plain, unchanged, changed = (
        suffix(variables, (stem, first), None).logits
        for variables in (variables, without(variables, LAYERS[0]), without(variables, LAYERS[1]))
    )
    assert bool((plain == unchanged).all()) and float(jnp.abs(plain - changed).max()) > 1e-3
