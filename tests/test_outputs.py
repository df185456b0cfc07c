import dataclasses

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from sfjax import outputs as o
from sfjax.passes import Passes, mc_statistics


def make(rng: np.random.Generator, n: int = 5, c: int = 3) -> o.Outputs:
    logits = jnp.asarray(rng.normal(size=(n, c)), jnp.float32)
    mc = o.MCStatistics(
        log_mean=jax.nn.log_softmax(logits),
        mean_logits=logits,
        expected_entropy=jnp.ones(n, jnp.float32),
        std=jnp.zeros((n, c), jnp.float32),
        votes=jnp.full((n, c), 2, jnp.int32),
        num_samples=jnp.full((n,), 6, jnp.int32),
    )
    tta = jax.tree.map(lambda field: field + jnp.ones_like(field), mc)
    labels = jnp.arange(n, dtype=jnp.int32) % c
    return o.Outputs(logits=logits, labels=labels, features=logits[:, :2], mc=mc, tta=tta)


def test_outputs_are_a_pytree_that_every_transformation_may_rebuild(rng):
    outputs = make(rng)
    assert jax.eval_shape(lambda x: x, outputs).logits.shape == (5, 3)
    assert jax.vmap(lambda x: x.logits.sum())(outputs).shape == (5,)
    paths = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(outputs)}
    assert ".mc.log_mean" in paths and ".labels" in paths


def test_wrong_shapes_are_refused_when_built():
    with pytest.raises(Exception, match="labels"):
        o.Outputs(logits=jnp.zeros((4, 2)), labels=jnp.zeros((3,), jnp.int32))


def test_save_and_load_return_every_field_bit_for_bit(rng, tmp_path):
    outputs = make(rng)
    o.save(outputs, tmp_path / "outputs.npz")
    loaded = o.load(tmp_path / "outputs.npz")
    assert jax.tree.structure(loaded) == jax.tree.structure(outputs)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(outputs), strict=True):
        assert a.dtype == b.dtype and (np.asarray(a) == np.asarray(b)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["outputs.npz"]


def test_a_file_cut_short_is_refused_with_its_path(rng, tmp_path):
    path = tmp_path / "outputs.npz"
    o.save(make(rng), path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"outputs\.npz cannot be read"):
        o.load(path)


def test_a_foreign_file_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="no outputs file"):
        o.load(tmp_path / "other.npz")


def test_take_keeps_every_field_together(rng):
    outputs = make(rng)
    taken = o.take(outputs, np.array([3, 1]))
    assert len(taken) == 2 and taken.mc is not None and taken.features is not None
    np.testing.assert_array_equal(taken.logits, np.asarray(outputs.logits)[[3, 1]])
    np.testing.assert_array_equal(taken.mc.log_mean, np.asarray(outputs.mc.log_mean)[[3, 1]])


def test_concatenate_undoes_take_and_refuses_different_fields(rng):
    outputs = make(rng)
    joined = o.concatenate([o.take(outputs, slice(0, 2)), o.take(outputs, slice(2, None))])
    np.testing.assert_array_equal(joined.logits, outputs.logits)
    with pytest.raises(ValueError, match="same fields"):
        o.concatenate([outputs, o.Outputs(logits=outputs.logits, labels=outputs.labels)])
    with pytest.raises(ValueError, match="at least one"):
        o.concatenate([])


LOGITS = [[2.0, -1.0, 0.5], [-0.5, 3.0, -2.0], [0.0, 0.25, 4.0], [1.0, 1.0, -1.0]]
LABELS = [0, 1, -1, 2]


def softmax(logits) -> np.ndarray:
    p = np.exp(np.asarray(logits, np.float64))
    return p / p.sum(-1, keepdims=True)


def others(rng: np.random.Generator) -> dict:
    """Everything besides logits and labels that four images of three classes may have."""
    return {
        "features": rng.normal(size=(4, 5)),
        "mc_logits": rng.normal(size=(4, 6, 3)) * 3,
        "reservation": rng.normal(size=4),
        "confidence": rng.normal(size=4),
    }


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_arrays_of_any_float_become_outputs(rng, kind):
    given = {name: value.astype(kind) for name, value in others(rng).items()}
    logits = np.asarray(LOGITS).astype(kind)
    outputs = o.Outputs.from_numpy(logits, np.asarray(LABELS, np.int64), **given)
    np.testing.assert_array_equal(outputs.logits, logits.astype(np.float32))
    for name, value in given.items():
        field = getattr(outputs, name)
        assert field.dtype == jnp.float32
        np.testing.assert_array_equal(field, value.astype(np.float32))
    assert outputs.labels.dtype == jnp.int32 and outputs.labels.tolist() == LABELS
    assert outputs.logits_are == "logits" and outputs.logits.dtype == jnp.float32


def test_lists_and_jax_arrays_are_arrays_too():
    for logits, labels in ((LOGITS, LABELS), (jnp.asarray(LOGITS), jnp.asarray(LABELS, jnp.int32))):
        outputs = o.Outputs.from_numpy(logits, labels)
        np.testing.assert_array_equal(outputs.logits, np.asarray(LOGITS, np.float32))
        assert outputs.mc is None and outputs.features is None and len(outputs) == 4
    assert o.Outputs.from_numpy([[3, -1]], [0]).logits.tolist() == [[3.0, -1.0]]


def test_given_passes_have_the_statistics_of_made_ones(rng):
    passes = (rng.normal(size=(4, 23, 3)) * 3).astype(np.float32)
    said = o.Outputs.from_numpy(LOGITS, LABELS, mc_logits=passes)
    made, _ = mc_statistics(lambda index: Passes(jnp.asarray(passes)[:, index]), 23, 23)
    p = softmax(passes)
    np.testing.assert_allclose(np.exp(said.mc.log_mean), p.mean(1), rtol=1e-5)
    np.testing.assert_allclose(said.mc.std, p.std(1), atol=1e-6)
    assert said.mc.num_samples.tolist() == [23] * 4 and (np.asarray(said.mc.votes).sum(1) == 23).all()
    for a, b in zip(jax.tree.leaves(said.mc), jax.tree.leaves(made), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_class_that_is_ruled_out_has_a_logit_of_minus_infinity():
    passes = np.full((1, 2, 3), -np.inf)
    passes[0, :, :2] = [[0.0, 1.0], [1.0, 0.0]]
    outputs = o.Outputs.from_numpy([[1.0, -np.inf, 0.0]], [0], mc_logits=passes)
    assert outputs.logits[0, 1] == -jnp.inf
    p = softmax(passes)
    np.testing.assert_allclose(np.exp(outputs.mc.log_mean), p.mean(1), rtol=1e-6)
    np.testing.assert_allclose(outputs.mc.std, p.std(1), atol=1e-6)
    entropy = -(p[..., :2] * np.log(p[..., :2])).sum(-1).mean(1)
    np.testing.assert_allclose(outputs.mc.expected_entropy, entropy, rtol=1e-5)


def changed(value, place, entry) -> np.ndarray:
    array = np.array(value)
    array[place] = entry
    return array


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"logits": np.zeros(4)}, r"logits must have the shape \(n, c\).*got \(4,\).*np\.stack"),
        ({"logits": np.zeros((4, 1))}, r"at least 2 classes; got \(4, 1\)"),
        ({"logits": np.zeros((0, 3)), "labels": []}, r"at least one image.*got \(0, 3\)"),
        ({"logits": [[1.0, 2.0], [3.0]]}, "logits must be an array"),
        ({"logits": [["a", "b"]]}, "logits must be real numbers; got <U1"),
        ({"logits": np.asarray(LOGITS) * 1j}, "logits must be real numbers; got complex"),
        ({"logits": changed(LOGITS, (2, 1), np.nan)}, r"logits must be finite.*row 2.*logits\[2, 1\] is nan \(1 of 4"),
        ({"logits": changed(LOGITS, (3, 0), np.inf)}, r"row 3.*logits\[3, 0\] is inf"),
        ({"logits": changed(LOGITS, (1, 0), 1e39)}, r"finite as float32.*row 1.*logits\[1, 0\] is inf"),
        ({"logits": changed(LOGITS, 1, -np.inf)}, r"a finite logit in every row, and all of row 1"),
        ({"labels": [[0], [1], [1], [2]]}, r"labels must have the shape \(n,\).*got \(4, 1\).*argmax"),
        ({"labels": [0.0, 1.0, 1.0, 2.0]}, r"labels must be integers; got float64.*astype\(int\)"),
        ({"labels": [0, 1, 3, 4]}, r"labels must be from 0 to 2.*or -1.*row 2 has 3"),
        ({"labels": [0, -2, 1, 2]}, "row 1 has -2"),
        ({"labels": np.array([0, 255, 1, 2], np.uint8)}, "row 1 has 255"),
        ({"labels": [0, 1, 2]}, "labels must have one row an image, as many as logits: expected 4, found 3"),
        ({"features": np.zeros((5, 2))}, "features must have one row an image.*expected 4, found 5"),
        ({"features": np.zeros((4, 2, 2))}, r"features must have the shape \(n, d\); got \(4, 2, 2\)"),
        ({"features": changed(np.zeros((4, 2)), (1, 1), -np.inf)}, r"features must be finite.*row 1.*\[1, 1\] is -inf"),
        ({"reservation": np.zeros(3)}, "reservation must have one row.*found 3"),
        ({"reservation": [0, 0, np.nan, 0]}, r"reservation must be finite.*row 2.*reservation\[2\] is nan"),
        ({"confidence": np.zeros((4, 1))}, r"confidence must have the shape \(n,\); got \(4, 1\)"),
        ({"confidence": [np.inf, 0, 0, 0]}, r"confidence must be finite.*row 0"),
        ({"mc_logits": np.zeros((4, 3))}, r"mc_logits must have the shape \(n, t, c\).*got \(4, 3\)"),
        ({"mc_logits": np.zeros((4, 0, 3))}, r"mc_logits must have the shape.*got \(4, 0, 3\)"),
        ({"mc_logits": np.zeros((5, 2, 3))}, "mc_logits must have one row.*found 5"),
        ({"mc_logits": np.zeros((4, 3, 2))}, r"mc_logits must have the classes of logits: expected 3, found 2"),
        ({"mc_logits": changed(np.zeros((4, 2, 3)), (3, 1, 2), np.nan)}, r"row 3.*mc_logits\[3, 1, 2\] is nan"),
        ({"logits": softmax(LOGITS)}, "logits must be logits.*logits_are='probabilities'"),
        ({"logits": softmax(LOGITS).astype(np.float16)}, "logits must be logits"),
        ({"mc_logits": softmax(np.zeros((4, 2, 3)))}, "mc_logits must be logits.*logits_are='probabilities'"),
        (
            {"logits": LOGITS, "logits_are": "probabilities"},
            r"logits must be probabilities.*logits\[0\].*least entry -1",
        ),
        (
            {"logits": changed(softmax(LOGITS), (2, 2), 0.5), "logits_are": "probabilities"},
            r"adding up to 1 within 0\.01.*logits\[2\] .*the sum 0\.5\d+",
        ),
        (
            {
                "logits": softmax(LOGITS),
                "mc_logits": changed(softmax(np.zeros((4, 2, 3))), (1, 1, 0), 0),
                "logits_are": "probabilities",
            },
            r"mc_logits must be probabilities.*mc_logits\[1, 1\] .*the sum 0\.66",
        ),
        (
            {"logits": changed(softmax(LOGITS), (2, 2), -np.inf), "logits_are": "probabilities"},
            r"logits must be finite as float32, and row 2",
        ),
        ({"logits": np.log(softmax(LOGITS)).astype(np.float16)}, "logits must be logits.*log-softmax"),
        (
            {"logits": np.linspace(0, 1, 32).reshape(4, 8)},
            r"logits must be logits, and all 32 entries are from 0 to 1.*sigmoid.*without one of its columns",
        ),
        ({"features": np.zeros((4, 0))}, r"features must have the shape \(n, d\) with something in it; got \(4, 0\)"),
        ({"tta_logits": np.zeros((4, 3, 2))}, "tta_logits must have the classes of logits: expected 3, found 2"),
        ({"mc_confidence": np.zeros((4, 2))}, "mc_confidence must have the passes of mc_logits: there are none"),
        (
            {"mc_confidence": np.zeros((4, 2)), "mc_logits": np.full((4, 5, 3), 2.0)},
            "mc_confidence must have the passes of mc_logits: expected 5, found 2",
        ),
        ({"logits": np.log(softmax(LOGITS))}, "logits must be logits.*log-softmax.*logits_are='log_probabilities'"),
        ({"mc_logits": np.log(softmax(np.zeros((4, 2, 3))))}, "mc_logits must be logits.*log-softmax"),
        (
            {"logits": changed(np.log(softmax(LOGITS)), (2, 2), -0.1), "logits_are": "log_probabilities"},
            r"logits must be natural logarithms.*within 0\.01.*logits\[2\] is no such row",
        ),
        (
            {"logits": changed(np.log(softmax(LOGITS)), (1, 0), 800.0), "logits_are": "log_probabilities"},
            r"natural logarithms.*logits\[1\] is no such row",
        ),
    ],
)
def test_arrays_that_are_no_outputs_are_refused_with_field_and_row(given, message):
    with pytest.raises(ValueError, match=message):
        o.Outputs.from_numpy(**{"logits": LOGITS, "labels": LABELS, **given})


def test_one_row_that_is_no_softmax_makes_logits_of_all():
    logits = changed(softmax(LOGITS), (3, 0), 0.5)
    np.testing.assert_array_equal(o.Outputs.from_numpy(logits, LABELS).logits, logits.astype(np.float32))


def probable(rng: np.random.Generator) -> o.Outputs:
    passes = softmax(rng.normal(size=(4, 6, 3)))
    return o.Outputs.from_numpy(softmax(LOGITS), LABELS, mc_logits=passes, logits_are="probabilities")


def test_of_probabilities_the_logarithms_are_kept(rng):
    outputs = probable(rng)
    np.testing.assert_allclose(outputs.logits, np.log(softmax(LOGITS)), rtol=1e-5)
    np.testing.assert_allclose(np.exp(outputs.mc.log_mean), np.exp(outputs.mc_logits).mean(1), rtol=1e-5)
    # From 0, what float32 does not hold, and what it holds with few digits, the floor is taken.
    least = float(np.log(np.finfo(np.float32).tiny))
    for tiny in (0.0, 1e-50, 1e-40):
        floored = o.Outputs.from_numpy([[1.0, tiny]], [0], logits_are="probabilities")
        np.testing.assert_allclose(floored.logits, [[0.0, least]], rtol=1e-6)
    for short in (np.float16, jnp.bfloat16):
        half = o.Outputs.from_numpy(softmax(LOGITS).astype(short), LABELS, logits_are="probabilities")
        np.testing.assert_allclose(half.logits, outputs.logits, atol=2e-2)


def test_passes_of_other_programs_have_the_statistics_of_their_heads_and_copies(rng):
    logits, confidence, reservation = rng.normal(size=(4, 13, 3)), rng.normal(size=(4, 13)), rng.normal(size=(4, 13))
    outputs = o.Outputs.from_numpy(
        LOGITS, LABELS, mc_logits=logits, mc_confidence=confidence, mc_reservation=reservation, tta_logits=logits + 1
    )
    sigmoid = 1 / (1 + np.exp(-confidence))
    np.testing.assert_allclose(outputs.mc.confidence_mean, sigmoid.mean(1), rtol=1e-5)
    np.testing.assert_allclose(outputs.mc.confidence_std, sigmoid.std(1), rtol=1e-4)
    with_reservation = softmax(np.concatenate([logits, reservation[..., None]], -1))
    np.testing.assert_allclose(outputs.mc.reservation_mean, with_reservation[..., -1].mean(1), rtol=1e-5)
    np.testing.assert_allclose(outputs.tta.log_mean, outputs.mc.log_mean, atol=1e-5)
    np.testing.assert_allclose(outputs.tta.mean_logits, outputs.mc.mean_logits + 1, atol=1e-5)


def test_log_probabilities_below_the_floor_are_kept_and_ruled_out_classes_stay_last():
    logarithms = np.array([[0.0, -200.0, -np.inf], [0.0, -1000.0, -500.0]])
    outputs = o.Outputs.from_numpy(logarithms, [0, 0], logits_are="log_probabilities")
    np.testing.assert_array_equal(outputs.logits, np.array([[0, -200, -1000], [0, -1000, -500]], np.float32))


def test_log_probabilities_are_those_of_the_probabilities():
    logarithms = changed(np.log(softmax(LOGITS)), (1, 2), -np.inf)  # a class ruled out, of small probability
    outputs = o.Outputs.from_numpy(logarithms, LABELS, logits_are="log_probabilities")
    assert outputs.logits_are == "log_probabilities"
    of_probabilities = o.Outputs.from_numpy(np.exp(logarithms), LABELS, logits_are="probabilities")
    np.testing.assert_allclose(outputs.logits, of_probabilities.logits, rtol=1e-5)


def test_log_probabilities_are_remembered_by_everything_that_rebuilds_outputs(rng, tmp_path):
    outputs = probable(rng)
    o.save(outputs, tmp_path / "outputs.npz")
    loaded = o.load(tmp_path / "outputs.npz")
    rebuilt = {
        "save and load": loaded,
        "take": o.take(outputs, np.array([2, 0])),
        "concatenate": o.concatenate([outputs, loaded]),
        "jit": jax.jit(lambda x: jax.tree.map(lambda leaf: leaf * 2, x))(outputs),
        "vmap": jax.vmap(lambda x: x)(outputs),
        "replace": dataclasses.replace(outputs, mc=None),
        "eval_shape": jax.eval_shape(lambda x: x, outputs),
    }
    assert {name: one.logits_are for name, one in rebuilt.items()} == dict.fromkeys(rebuilt, "log_probabilities")
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(outputs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_logits_are_is_known_while_a_program_is_compiled_and_is_no_leaf(rng):
    known = jax.jit(lambda x: x.logits if x.logits_are == "logits" else -x.logits)
    outputs = probable(rng)
    np.testing.assert_array_equal(known(outputs), -np.asarray(outputs.logits))
    plain = dataclasses.replace(outputs, logits_are="logits")
    np.testing.assert_array_equal(known(plain), outputs.logits)
    assert len(jax.tree.leaves(plain)) == len(jax.tree.leaves(outputs))
    assert jax.tree.structure(plain) != jax.tree.structure(outputs)
    with pytest.raises(ValueError, match="all have logits or all log_probabilities"):
        o.concatenate([plain, outputs])


def test_a_file_of_before_says_nothing_of_its_logits_and_has_logits(rng, tmp_path):
    path = tmp_path / "outputs.npz"
    o.save(make(rng), path)
    arrays = o.read_npz(path)
    assert arrays.pop("logits_are").item() == "logits"
    o.write_npz(path, arrays)
    assert o.load(path).logits_are == "logits"


class Tensor:
    """As much of a torch tensor as is asked for: NumPy gets it detached, on the host, and not in bfloat16."""

    def __init__(self, array, *, graph=True, device="cuda"):
        self.array, self.graph, self.device = np.asarray(array), graph, device

    @property
    def dtype(self):
        return f"torch.{self.array.dtype}"

    def __array__(self, *_, **__):
        raise TypeError("can't convert cuda tensor to numpy")

    def __len__(self):
        return len(self.array)

    def detach(self):
        return Tensor(self.array, graph=False, device=self.device)

    def cpu(self):
        return Tensor(self.array, graph=self.graph, device="cpu")

    def float(self):
        return Tensor(self.array.astype(np.float32), graph=self.graph, device=self.device)

    def numpy(self):
        if self.graph or self.device != "cpu":
            raise RuntimeError("Can't call numpy() on a tensor that requires grad or is on a device.")
        if self.array.dtype == ml_dtypes.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_tensors_become_the_outputs_that_their_arrays_do(rng, kind):
    given = {name: value.astype(kind) for name, value in others(rng).items()}
    logits, labels = np.asarray(LOGITS).astype(kind), np.asarray(LABELS, np.int64)
    ours = o.Outputs.from_torch(
        Tensor(logits), Tensor(labels), **{name: Tensor(value) for name, value in given.items()}
    )
    theirs = o.Outputs.from_numpy(logits, labels, **given)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_tensors_may_be_probabilities_and_stand_beside_arrays():
    outputs = o.Outputs.from_torch(Tensor(softmax(LOGITS)), LABELS, logits_are="probabilities")
    assert outputs.logits_are == "log_probabilities"
    with pytest.raises(ValueError, match="labels must be integers; got float32"):
        o.Outputs.from_torch(Tensor(LOGITS), Tensor(np.zeros(4, np.float32)))
