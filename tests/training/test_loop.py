import dataclasses
import itertools

import jax
import numpy as np
import pytest
from tiny_task import equal, leaves, tiny

from sfjax.training import METHODS, DivergedError, Labelled, Recipe, begin, initial_variables, train

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=2e-2)
KEY = jax.random.key(0)


def setting(method="cross_entropy", recipe=RECIPE, reward=1.5):
    return METHODS[method].network(tiny, 2), METHODS[method].stages(recipe, reward)


def run(data, *, recipe=RECIPE, key=KEY, state=None, method="cross_entropy", **options):
    classifier, stages = setting(method, recipe)
    if state is None:
        variables = initial_variables(classifier, data.images.shape[1:], key)
        state = begin(stages[0], recipe, variables, len(data.images), key)
    return list(train(classifier, data, stage=stages[0], recipe=recipe, state=state, **options))


@pytest.fixture(scope="module")
def epochs(data):
    return run(data)


def test_the_loss_falls_and_epochs_are_counted(epochs):
    assert [(epoch.epoch, epoch.step) for epoch in epochs] == [(1, 0), (2, 0), (3, 0)]
    assert epochs[-1].loss < 0.9 * epochs[0].loss


def test_the_same_key_gives_the_same_bits_and_another_key_others(data, epochs):
    assert equal(run(data)[-1].state, epochs[-1].state)
    assert run(data, key=jax.random.key(1))[0].loss != epochs[0].loss


def test_from_any_step_it_goes_on_bit_for_bit(data, epochs):
    everywhere = run(data, every=1)
    expected = [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0)]
    assert [(one.epoch, one.step) for one in everywhere] == expected
    for one in everywhere:
        rest = run(data, state=jax.tree.map(np.asarray, one.state))
        if rest:
            assert equal(rest[-1].state, epochs[-1].state)
            assert rest[0].loss == epochs[rest[0].epoch - 1].loss


def test_several_seeds_as_one_program_are_the_seeds_one_by_one(data):
    seeds = [jax.random.key(seed) for seed in (3, 4)]
    together = run(data, key=jax.numpy.stack(seeds))
    for place, key in enumerate(seeds):
        alone = run(data, key=key)
        for a, b in zip(leaves(together[-1].state.variables), leaves(alone[-1].state.variables), strict=True):
            np.testing.assert_allclose(a[place], b, atol=2e-5)
        assert together[0].loss[place] == pytest.approx(alone[0].loss, abs=1e-5)


def test_a_batch_in_parts_has_the_gradient_of_the_whole(data):
    # Without batch statistics and dropout, parts add up exactly; the loss of a fixed network shows it.
    classifier, stages = setting()
    still = stages[0]._replace(dropout=False, batch_statistics=False)
    variables = initial_variables(classifier, (8, 8, 1), KEY)
    found = []
    for accumulate in (1, 4):
        recipe = dataclasses.replace(RECIPE, accumulate=accumulate, epochs=1)
        state = begin(still, recipe, variables, 24, KEY)
        found += train(classifier, data, stage=still._replace(epochs=1), recipe=recipe, state=state)
    assert found[1].loss == pytest.approx(found[0].loss, abs=1e-6)
    for a, b in zip(leaves(found[0].state.variables), leaves(found[1].state.variables), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5)


def test_balanced_weights_count_every_class_alike(data):
    rare = np.array([0] * 18 + [1] * 6, np.int32)
    images = np.zeros_like(data.images)  # nothing to learn but how often each class is
    uneven = Labelled(images, rare, data.ids)
    shares = {}
    for weights in ("none", "balanced"):
        recipe = dataclasses.replace(RECIPE, class_weights=weights, epochs=30, batch_size=24, weight_decay=0.0)
        state = run(uneven, recipe=recipe)[-1].state
        classifier, _ = setting()
        hidden = classifier.prefix(state.variables, jax.numpy.zeros((1, 8, 8, 1)))
        shares[weights] = float(jax.nn.softmax(classifier.suffix(state.variables, hidden, None).logits)[0, 1])
    assert shares["none"] == pytest.approx(0.25, abs=0.08) and shares["balanced"] == pytest.approx(0.5, abs=0.08)


def test_coupled_decay_is_part_of_the_gradient_and_decoupled_is_not(data):
    # With a gradient of weights alone Adam's first step is the learning rate in size whatever the decay is.
    recipe = Recipe(epochs=1, batch_size=24, learning_rate=1e-2, warmup=0.0, weight_decay=1e-3, decay="coupled")
    coupled = run(data, recipe=dataclasses.replace(recipe, weight_decay=10.0, clip_norm=1e-12))[-1].state
    start = initial_variables(setting()[0], (8, 8, 1), KEY)
    moved = leaves(start["params"]["convolution"])[0] - leaves(coupled.variables["params"]["convolution"])[0]
    np.testing.assert_allclose(moved, 1e-2 * np.sign(leaves(start["params"]["convolution"])[0]), atol=1e-4)
    decoupled = run(data, recipe=dataclasses.replace(recipe, weight_decay=10.0, clip_norm=1e-12, decay="decoupled"))
    kept = leaves(decoupled[-1].state.variables["params"]["convolution"])[0]
    ratio = np.median(kept / leaves(start["params"]["convolution"])[0])
    assert ratio == pytest.approx(1 - 1e-2 * 10.0, abs=0.02)


@pytest.mark.parametrize("where", [3, 17])
def test_a_loss_that_is_no_number_stops_with_step_and_images(data, where):
    images = (data.images / 255).astype(np.float32)
    images[where] = np.nan
    with pytest.raises(DivergedError, match=r"in step [123] of 3 of epoch 1 of cross_entropy the loss is nan") as error:
        run(Labelled(images, data.labels, data.ids))
    assert data.ids[where] in error.value.image_ids and len(error.value.image_ids) == 8
    assert str(data.ids[where]) in str(error.value)


def test_a_set_smaller_than_a_batch_trains(data):
    small = Labelled(*(field[:5] for field in data))
    (epoch,) = run(small, recipe=Recipe(epochs=1, batch_size=64))
    assert np.isfinite(epoch.loss)


def test_the_learning_rate_falls_to_nothing_at_the_end_of_its_phase(data):
    recipe = Recipe(epochs=4, batch_size=24, learning_rate=1e-2, warmup=0.0, weight_decay=0.0)
    steps = [leaves(one.state.variables["params"]) for one in run(data, recipe=recipe)]
    moved = [max(np.abs(b - a).max() for a, b in zip(*pair, strict=True)) for pair in itertools.pairwise(steps)]
    # Cosine over 4 steps: rates 1, .85, .5, .15 of the highest; 0 comes after the last.
    assert moved[0] > moved[1] > moved[2] > 0 and moved[2] < 0.4 * 1e-2
