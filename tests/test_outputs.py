import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfjax import outputs as o


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
    return o.Outputs(logits=logits, labels=jnp.arange(n, dtype=jnp.int32) % c, features=logits[:, :2], mc=mc)


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
