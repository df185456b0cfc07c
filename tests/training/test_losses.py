import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax.csf import CSFS
from sfjax.metrics import auroc_f
from sfjax.models import Heads
from sfjax.outputs import Outputs
from sfjax.training import losses


def keys(n):
    return jax.random.split(jax.random.key(0), n)


def heads(logits, **fields):
    logits = jnp.asarray(logits, jnp.float32)
    return Heads(features=jnp.zeros((len(logits), 1)), logits=logits, **fields)


def test_cross_entropy_weighs_images():
    said = heads([[0.0, 0.0], [0.0, np.log(3.0)]])
    loss, carry = losses.cross_entropy(said, jnp.array([0, 1]), jnp.array([1.5, 0.5]), keys(2), {})
    assert loss == pytest.approx((1.5 * np.log(2) + 0.5 * np.log(4 / 3)) / 2, rel=1e-6) and carry == {}


def test_a_gambler_keeps_what_was_not_bet():
    # Thirds on two classes and the reservation, which is worth half at a reward of 2: 1/3 + 1/6.
    said = heads([[0.0, 0.0]], reservation=jnp.zeros(1))
    loss, _ = losses.gamblers(2.0)(said, jnp.array([0]), jnp.ones(1), keys(1), {})
    assert loss == pytest.approx(np.log(2), rel=1e-6)
    lost = heads([[-500.0, 500.0]], reservation=jnp.zeros(1))
    loss, _ = losses.gamblers(2.0)(lost, jnp.array([0]), jnp.ones(1), keys(1), {})
    assert loss == pytest.approx(500 + np.log(2), rel=1e-6)  # all is lost but exp(-500) / 2


def test_confidnet_aims_at_the_probability_of_the_true_class():
    said = heads([[0.0, 0.0]], confidence=jnp.array([np.log(9.0)]))  # confidence 0.9, true-class probability 0.5
    aim = losses.true_class_probability
    assert aim(said, jnp.array([0]), jnp.ones(1), keys(1), {})[0] == pytest.approx(0.16, rel=1e-5)
    gradient = jax.grad(lambda z: aim(said._replace(logits=z), jnp.array([0]), jnp.ones(1), keys(1), {})[0])(
        said.logits
    )
    np.testing.assert_array_equal(gradient, 0)  # the target is no way to make the loss small


def test_learned_confidence_by_hand():
    n, c, p = 8, 0.8, 0.25
    logits = np.tile([np.log(p), np.log(1 - p)], (n, 1))
    said = heads(logits, confidence=jnp.full((n,), np.log(c / (1 - c)), jnp.float32))
    coin = np.array([bool(jax.random.bernoulli(key)) for key in keys(n)])
    assert 0 < coin.sum() < n
    loss, carry = losses.learned_confidence(
        said, jnp.zeros(n, jnp.int32), jnp.ones(n), keys(n), losses.first_carry(losses.learned_confidence)
    )
    graded = np.where(coin, c * p + 1 - c, p)
    assert loss == pytest.approx(-np.log(graded).mean() - 0.1 * np.log(c), rel=1e-5)
    # -log 0.8 is below the budget of 0.3, so hints get cheaper; at -log 0.5 dearer.
    assert carry["weight"] == pytest.approx(0.1 / 1.01, rel=1e-6)
    unsure = said._replace(confidence=jnp.zeros(n))
    _, carry = losses.learned_confidence(
        unsure, jnp.zeros(n, jnp.int32), jnp.ones(n), keys(n), {"weight": jnp.float32(0.1)}
    )
    assert carry["weight"] == pytest.approx(0.1 / 0.99, rel=1e-6)


@pytest.mark.parametrize(
    "loss", [losses.cross_entropy, losses.gamblers(1.5), losses.true_class_probability, losses.learned_confidence]
)
def test_losses_and_their_gradients_stay_finite_at_extremes(loss):
    labels, carry = jnp.array([0, 1, 0], jnp.int32), losses.first_carry(loss)

    def of(logits, reservation, confidence):
        said = heads(logits, reservation=reservation, confidence=confidence)
        return loss(said, labels, jnp.ones(3), keys(3), carry)[0]

    extremes = jnp.array([[300.0, -300.0]] * 3), jnp.array([300.0, -300.0, 0.0]), jnp.array([-300.0, 300.0, 300.0])
    value, gradients = jax.value_and_grad(of, argnums=(0, 1, 2))(*extremes)
    assert np.isfinite(value) and all(np.isfinite(gradient).all() for gradient in gradients)


def test_a_loss_says_which_network_it_needs():
    with pytest.raises(ValueError, match="with_reservation"):
        losses.gamblers(1.5)(heads([[0.0, 0.0]]), jnp.array([0]), jnp.ones(1), keys(1), {})
    with pytest.raises(ValueError, match="with_confidence"):
        losses.learned_confidence(heads([[0.0, 0.0]]), jnp.array([0]), jnp.ones(1), keys(1), {"weight": jnp.ones(())})


def test_a_confidence_learned_for_the_true_class_probability_beats_the_largest_one_at_it():
    """A network that is as sure of a kind of images as of others, though it is wrong on half of them; features tell."""

    def draw(seed: int) -> tuple[Heads, jnp.ndarray]:
        rng = np.random.default_rng(seed)
        odd = rng.random(600) < 0.4
        predicted = rng.integers(0, 2, 600)
        wrong = rng.random(600) < np.where(odd, 0.5, 0.02)
        margins = rng.uniform(2, 5, 600)
        logits = np.stack([margins * (predicted == 0), margins * (predicted == 1)], -1)
        features = np.stack([odd + 0.1 * rng.normal(size=600), rng.normal(size=600), np.ones(600)], -1)
        labels = np.where(wrong, 1 - predicted, predicted)
        return Heads(jnp.asarray(features, jnp.float32), jnp.asarray(logits, jnp.float32)), jnp.asarray(labels)

    def loss(weight: jnp.ndarray, said: Heads, labels: jnp.ndarray) -> jnp.ndarray:
        said = said._replace(confidence=said.features @ weight)
        return losses.true_class_probability(said, labels, jnp.ones(600), keys(600), {})[0]

    train, test = draw(0), draw(1)
    weight, step = jnp.zeros(3), jax.jit(lambda weight: weight - 2.0 * jax.grad(loss)(weight, *train))
    for _ in range(300):
        weight = step(weight)
    said, labels = test
    outputs = Outputs.from_numpy(said.logits, labels, confidence=said.features @ weight)
    truly = np.take_along_axis(np.asarray(jax.nn.softmax(said.logits)), np.asarray(labels)[:, None], -1)[:, 0]
    off = {name: np.square(np.asarray(CSFS[name].probability(outputs)) - truly).mean() for name in ("confidnet", "msr")}
    assert off["confidnet"] < 0.8 * off["msr"]
    right = jnp.argmax(said.logits, -1) == labels
    auroc = {name: auroc_f(CSFS[name].score(outputs), ~right) for name in off}
    assert float(auroc["confidnet"]) > 0.75 > 0.6 > float(auroc["msr"])
