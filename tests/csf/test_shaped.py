"""Scores of features with the last layer: slow definitions, edges, and the cases that they exist for."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import worlds
from worlds import auroc, clusters, far, float64, of, plain

from sfjax.csf import CSFS, FITTED
from sfjax.outputs import Head, concatenate

TRAIN, TEST, HEAD = plain(0, 120), plain(1, 40), worlds.head()
X, Z, W, B = float64(TRAIN.features), float64(TEST.features), float64(HEAD.weight), float64(HEAD.bias)
LOGITS, TOP = float64(TEST.logits), np.asarray(TEST.logits).argmax(-1)
OF_HEAD = ("vim", "residual", "fdbd", "nci", "react", "ash", "scale", "sirc_residual", "sirc_plus")


def energy(logits):
    return np.log(np.exp(logits).sum(-1))


def residual_of(features, dimensions):
    """Returns the norm in the null space by singular values, where the code takes a covariance."""
    origin = -np.linalg.pinv(W.T) @ B
    principal = np.linalg.svd(X - origin, full_matrices=True)[2][:dimensions]
    moved = features - origin
    return np.linalg.norm(moved - moved @ principal.T @ principal, axis=-1)


@pytest.mark.parametrize("dimensions", [1, 3, 5, None])
def test_residual_is_what_the_principal_directions_leave(dimensions):
    expected = -residual_of(Z, dimensions or worlds.D // 2)
    score = FITTED["residual"](TRAIN, head=HEAD, dimensions=dimensions).score(TEST)
    np.testing.assert_allclose(score, expected, rtol=1e-4, atol=1e-4)


def test_vim_is_the_energy_less_the_virtual_logit():
    alpha = float64(TRAIN.logits).max(-1).sum() / residual_of(X, 3).sum()
    expected = energy(LOGITS) - alpha * residual_of(Z, 3)
    np.testing.assert_allclose(FITTED["vim"](TRAIN, head=HEAD).score(TEST), expected, rtol=1e-4, atol=1e-3)


def test_vim_orders_as_minus_the_virtual_logits_share_in_the_softmax():
    alpha = float64(TRAIN.logits).max(-1).sum() / residual_of(X, 3).sum()
    with_virtual = worlds.softmax64(np.concatenate([LOGITS, alpha * residual_of(Z, 3)[:, None]], axis=-1))
    score = np.asarray(FITTED["vim"](TRAIN, head=HEAD).score(TEST))
    assert np.abs(np.argsort(np.argsort(score)) - np.argsort(np.argsort(-with_virtual[:, -1]))).max() <= 1


def test_vim_of_features_that_never_leave_the_principal_space_is_the_energy():
    # Two of four features are always 0, and so is the origin there.
    features = np.zeros((30, 4))
    features[:, :2] = np.random.default_rng(1).normal(size=(30, 2))
    head = Head(jnp.asarray([[1.0, -1], [0.5, 2], [0, 0], [0, 0]]), jnp.zeros(2))
    train = of(features @ np.asarray(head.weight), np.arange(30) % 2, features)
    score = FITTED["vim"](train, head=head).score(train)
    np.testing.assert_allclose(score, energy(float64(train.logits)), rtol=1e-5, atol=1e-6)


def test_vim_has_no_virtual_logit_where_the_largest_logits_are_below_zero():
    low = Head(HEAD.weight, HEAD.bias - 50)
    train = of(X @ W + (B - 50), TRAIN.labels, X)
    assert float(train.logits.max(-1).mean()) < 0
    score = FITTED["vim"](train, head=low).score(train)
    np.testing.assert_allclose(score, energy(float64(train.logits)), rtol=1e-5)


@pytest.mark.parametrize("name", ["ash", "scale"])
def test_features_scaled_beyond_float32_are_scaled_by_as_much_as_it_holds(name):
    # One feature of 300 equal ones is among the largest: e^300 is none of float32's numbers.
    d = 300
    features = np.ones((4, d))
    features[:, 0] = 1.01
    weight = np.full((d, 2), [1e-3, 2e-3])
    head = Head(jnp.asarray(weight, jnp.float32), jnp.zeros(2))
    outputs = of(features @ weight, np.zeros(4, int), features)
    score = FITTED[name](outputs, head=head, share=0.999).score(outputs)
    assert np.isfinite(np.asarray(score)).all() and (np.asarray(score) > 1e20).all()


@pytest.mark.parametrize("name", ["vim", "residual"])
@pytest.mark.parametrize("dimensions", [0, worlds.D])
def test_some_dimensions_are_principal_and_some_are_not(name, dimensions):
    with pytest.raises(ValueError, match=f"at least 1 and fewer than the {worlds.D} features; got {dimensions}"):
        FITTED[name](TRAIN, head=HEAD, dimensions=dimensions)


def test_fdbd_is_the_mean_distance_to_boundaries_over_that_to_the_training_mean():
    expected = []
    for z, logits, top in zip(Z, LOGITS, TOP):
        others = [c for c in range(worlds.C) if c != top]
        to_boundary = [(logits[top] - logits[c]) / np.linalg.norm(W[:, top] - W[:, c]) for c in others]
        expected.append(np.mean(to_boundary) / np.linalg.norm(z - X.mean(0)))
    np.testing.assert_allclose(FITTED["fdbd"](TRAIN, head=HEAD).score(TEST), expected, rtol=1e-4)


def test_classes_of_equal_weights_have_no_boundary():
    head = Head(HEAD.weight.at[:, 1].set(HEAD.weight[:, 0]), HEAD.bias)
    train = of(X @ float64(head.weight) + B, TRAIN.labels, X)
    test = of([[5.0, 3, 1, 0]], [0], Z[:1])
    to_boundary = [(5 - z) / np.linalg.norm(W[:, 0] - W[:, c]) for c, z in ((2, 1), (3, 0))]
    expected = np.mean(to_boundary) / np.linalg.norm(Z[0] - X.mean(0))
    assert float(FITTED["fdbd"](train, head=head).score(test)[0]) == pytest.approx(expected, rel=1e-4)


def test_nci_is_the_pull_towards_the_predicted_class_plus_a_norm():
    moved = Z - X.mean(0)
    pull = (W.T[TOP] * moved).sum(-1) / np.linalg.norm(moved, axis=-1)
    for alpha in (0.0, 0.3):
        score = FITTED["nci"](TRAIN, head=HEAD, alpha=alpha).score(TEST)
        np.testing.assert_allclose(score, pull + alpha * np.abs(Z).sum(-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_react_is_the_energy_of_clipped_features(quantile):
    clipped = np.minimum(Z, np.quantile(X, quantile))
    score = FITTED["react"](TRAIN, head=HEAD, quantile=quantile).score(TEST)
    np.testing.assert_allclose(score, energy(clipped @ W + B), rtol=1e-4, atol=1e-5)


def shaped(features, share):
    active = np.maximum(features, 0)
    largest = active >= np.quantile(active, share, axis=-1, keepdims=True)
    factor = np.exp(active.sum(-1) / np.where(largest, active, 0).sum(-1))
    return active * factor[:, None], largest


@pytest.mark.parametrize("share", [0.3, 0.65])
def test_ash_and_scale_are_the_energy_of_scaled_features(share):
    scaled, largest = shaped(Z, share)
    expected = {"ash": np.where(largest, scaled, 0), "scale": scaled}
    for name, features in expected.items():
        score = FITTED[name](TRAIN, head=HEAD, share=share).score(TEST)
        np.testing.assert_allclose(score, energy(features @ W + B), rtol=1e-4, atol=1e-4, err_msg=name)


def test_ash_and_scale_by_hand():
    # The largest half of 1, 1, 3, 5 makes 8 of 10, so that all is scaled by exp(10/8).
    head = Head(jnp.asarray(np.tile([[1.0, 0]], (4, 1)), jnp.float32), jnp.zeros(2))
    features = np.array([[1.0, 1, 3, 5]])
    train = of(features @ np.asarray(head.weight), [0], features)
    factor = np.exp(10 / 8)
    for name, total in (("ash", 8), ("scale", 10)):
        score = float(FITTED[name](train, head=head, share=0.5).score(train)[0])
        assert score == pytest.approx(np.log(np.exp(total * factor) + 1), rel=1e-5)


@pytest.mark.parametrize("name", ["react", "ash", "scale", "fdbd", "nci", "residual", "vim"])
def test_features_of_norm_0_have_finite_scores(name):
    nothing = of(B[None], [0], np.zeros((1, worlds.D)))
    score = float(FITTED[name](TRAIN, head=HEAD).score(nothing)[0])
    assert np.isfinite(score)
    if name in ("react", "ash", "scale"):
        assert score == pytest.approx(energy(B), rel=1e-5)


@pytest.mark.parametrize("name", ["fdbd", "nci"])
def test_features_at_the_training_mean_have_finite_scores(name):
    same = of(X[:1].repeat(9, 0) @ W + B, np.zeros(9, int), X[:1].repeat(9, 0))
    assert np.isfinite(np.asarray(FITTED[name](same, head=HEAD).score(same))).all()


@pytest.mark.parametrize("name", ["react", "ash", "scale"])
@pytest.mark.parametrize("share", [0.0, 1.0, 1.5])
def test_quantiles_and_shares_lie_between_0_and_1(name, share):
    options = {"quantile" if name == "react" else "share": share}
    with pytest.raises(ValueError, match=f"between 0 and 1; got {share}"):
        FITTED[name](TRAIN, head=HEAD, **options)


@pytest.mark.parametrize("name", OF_HEAD)
def test_scores_of_the_last_layer_refuse_another(name):
    cases = [
        (None, "Give head=Head"),
        (Head(HEAD.weight.T, HEAD.bias), "PyTorch keeps the weight transposed"),
        (Head(-HEAD.weight, HEAD.bias), r"this one is off by .* of the largest logit. Give the head and the features"),
        (Head(HEAD.weight, HEAD.bias[:3]), r"a bias \(c,\)"),
    ]
    for head, message in cases:
        with pytest.raises(ValueError, match=message):
            FITTED[name](TRAIN, head=head)


def test_a_square_head_is_refused_transposed_too():
    head = worlds.head(c=6)
    with pytest.raises(ValueError, match="makes the logits of the features"):
        FITTED["nci"](plain(0, 50, c=6), head=Head(head.weight.T, head.bias))


def test_a_head_in_short_floats_is_taken():
    rounded = dataclasses.replace(TRAIN, logits=TRAIN.logits.astype(jnp.bfloat16).astype(jnp.float32))
    assert np.isfinite(np.asarray(FITTED["react"](rounded, head=HEAD).score(TEST))).all()


@pytest.mark.parametrize("name", ["vim", "residual", "fdbd"])
def test_a_new_direction_is_ranked_last_where_msr_is_sure_of_it(name):
    outputs, is_known = concatenate([clusters(1, 100), far(2, 100)]), np.arange(200) < 100
    assert auroc(CSFS["msr"].score(outputs), is_known) < 0.6
    csf = FITTED[name](clusters(0, 200), head=worlds.last_layer())
    assert auroc(csf.score(outputs), is_known) > 0.9


def test_nci_ranks_a_new_direction_last_where_msr_is_sure_of_it():
    # Without its term for small norms, which this cluster does not have.
    outputs, is_known = concatenate([clusters(1, 100), far(2, 100)]), np.arange(200) < 100
    csf = FITTED["nci"](clusters(0, 200), head=worlds.last_layer())
    assert auroc(csf.score(outputs), is_known) > 0.9


def level_and_spiked(spike: float):
    """Returns 100 images whose 20 features are about 1 and as many with all of their activation in two, and a head."""
    rng = np.random.default_rng(4)
    features = rng.uniform(0.8, 1.2, (200, 20)).astype(np.float32)
    features[100:, 2:] = 0
    features[100:, :2] = rng.uniform(0.98, 1.02, (100, 2)) * spike
    weight = np.zeros((20, 2), np.float32)
    weight[:, 0] = 1
    return of(features @ weight, np.zeros(200, int), features), Head(jnp.asarray(weight), jnp.zeros(2))


def test_react_ranks_spikes_last_where_the_energy_is_sure_of_them():
    outputs, head = level_and_spiked(12.0)
    is_known = np.arange(200) < 100
    train = of(np.asarray(outputs.logits)[:100], np.zeros(100, int), np.asarray(outputs.features)[:100])
    assert auroc(CSFS["energy"].score(outputs), is_known) < 0.1
    assert auroc(FITTED["react"](train, head=head).score(outputs), is_known) > 0.9


@pytest.mark.parametrize("name", ["ash", "scale"])
def test_scaling_parts_activations_of_equal_sum_by_how_many_make_it(name):
    # Their papers find known images to have the larger ratio of all activation to the largest ones.
    outputs, head = level_and_spiked(10.0)
    is_known = np.arange(200) < 100
    assert 0.4 < auroc(CSFS["energy"].score(outputs), is_known) < 0.6
    assert auroc(FITTED[name](outputs, head=head, share=0.85).score(outputs), is_known) > 0.9


def test_gradient_norm_ranks_weak_features_last_where_msr_is_sure_of_them():
    known, weak = clusters(1, 100), clusters(2, 100)
    weak = dataclasses.replace(weak, features=weak.features * 0.5)
    outputs, is_known = concatenate([known, weak]), np.arange(200) < 100
    assert auroc(CSFS["msr"].score(outputs), is_known) < 0.6
    assert auroc(CSFS["gradnorm"].score(outputs), is_known) > 0.9
