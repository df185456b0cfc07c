import dataclasses
import gc
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_task import equal, leaves, tiny

from sfjax import inference
from sfjax.training import METHODS, DivergedError, Labelled, Recipe, begin, initial_variables, train
from sfjax.training.checkpoints import Checkpoints
from sfjax.training.fit import fit, trained
from sfjax.training.step import optimizer

RECIPE = Recipe(
    epochs=2,
    batch_size=8,
    learning_rate=2e-2,
    confidence_epochs=2,
    confidence_learning_rate=1e-2,
    fine_tuning_epochs=1,
    fine_tuning_learning_rate=1e-3,
    gambler_epochs=1,
    members=2,
)

KEY = jax.random.key(0)


def start(folder, data, validation, method="cross_entropy", recipe=RECIPE, seed=0, **options):
    classifier = METHODS[method].network(tiny, 2)
    settings = {"method": METHODS[method], "recipe": recipe, "num_classes": 2, "key": jax.random.key(seed)}
    return fit(classifier, data, validation, folder=folder, **settings, **options)


def result(folder, method, recipe=RECIPE):
    return trained(METHODS[method].network(tiny, 2), (8, 8, 1), folder, method=METHODS[method], recipe=recipe)


@pytest.fixture(scope="module")
def finished(data, validation, tmp_path_factory):
    """Each method's folder and steps, trained once without interruption."""
    found = {}
    for method in METHODS:
        folder = tmp_path_factory.mktemp(method)
        found[method] = folder, list(start(folder, data, validation, method))
    return found


@pytest.mark.parametrize(
    ("method", "epochs"),
    [
        ("cross_entropy", {"cross_entropy": 2}),
        ("confidnet", {"backbone": 2, "confidence": 2, "fine_tuning": 1}),
        ("deep_gamblers", {"cross_entropy": 2, **{f"gambling_{reward}": 1 for reward in (1.1892, 1.4142, 1.6818, 2)}}),
        ("devries", {"confidence": 2}),
        ("ensemble", {"cross_entropy": 2}),
    ],
)  # fmt: skip
def test_every_method_runs_its_stages_and_leaves_a_network(method, epochs, finished):
    folder, steps = finished[method]
    assert [step.done for step in steps] == list(range(1, steps[-1].total + 1)) and steps[-1].done == steps[-1].total
    assert json.loads((folder / "training.json").read_text())["epochs"] == epochs
    history = (folder / "history.csv").read_text().splitlines()
    assert history[0] == "stage,epoch,loss,val_accuracy,val_aurc" and len(history) == 1 + len(steps)
    assert all(np.isfinite(leaf).all() for leaf in leaves(result(folder, method)))


def test_confidnet_leaves_the_network_alone_and_tunes_a_copy_of_it(finished):
    folder, _ = finished["confidnet"]
    variables = result(folder, "confidnet")
    plain = result(finished["cross_entropy"][0], "cross_entropy")
    # The backbone is a cross-entropy network that neither later stage touched: statistics neither.
    params = variables["params"]
    assert not equal(params["network"]["convolution"], params["encoder"]["convolution"])
    for a, b in zip(leaves(params["network"]["convolution"]), leaves(params["encoder"]["convolution"]), strict=True):
        np.testing.assert_allclose(a, b, atol=0.02)
    assert set(variables) == set(plain)


def test_later_stages_change_only_their_parts(data, validation, tmp_path):
    list(start(tmp_path, data, validation, "confidnet"))
    classifier, stages = METHODS["confidnet"].network(tiny, 2), METHODS["confidnet"].stages(RECIPE, 0.0)
    variables = initial_variables(classifier, (8, 8, 1), jax.random.key(0))
    after = []
    for stage in stages:
        like = begin(stage, RECIPE, variables, 24, jax.random.key(0))
        with Checkpoints(tmp_path / "checkpoints" / stage.name / "last") as checkpoints:
            variables = checkpoints.latest(like).state.variables
        after.append(variables)
    backbone, head, tuned = after
    for one in (head, tuned):
        assert equal(one["params"]["network"], backbone["params"]["network"])
        assert equal(one["batch_stats"], backbone["batch_stats"])
    assert not equal(head["params"]["confidence"], backbone["params"]["confidence"])
    assert not equal(tuned["params"]["confidence"], head["params"]["confidence"])


def test_the_reward_with_the_lowest_validation_aurc_is_taken_and_recorded(finished):
    folder, steps = finished["deep_gamblers"]
    facts = json.loads((folder / "training.json").read_text())
    areas = {step.stage: step.row["val_aurc"] for step in steps if step.stage.startswith("gambling")}
    assert list(facts["rewards"].values()) == list(areas.values())
    assert facts["rewards"][str(facts["reward"])] == min(areas.values())


def test_a_reward_above_the_number_of_classes_is_refused(data, validation, tmp_path):
    recipe = dataclasses.replace(RECIPE, rewards=(1.5, 10.0))
    with pytest.raises(ValueError, match="at most the 2 classes"):
        next(iter(start(tmp_path, data, validation, "deep_gamblers", recipe)))


def test_members_of_an_ensemble_differ_and_its_statistics_are_over_them(finished, validation):
    variables = result(finished["ensemble"][0], "ensemble")
    classifier = METHODS["ensemble"].network(tiny, 2)
    images, labels, ids = validation
    said = inference.run_ensemble(classifier, variables, images, labels, ids, keep_passes=True, batch_size=4)
    members = [
        inference.run(
            classifier, jax.tree.map(lambda leaf, i=i: leaf[i], variables), *validation, key=jax.random.key(0)
        )
        for i in range(2)
    ]
    assert float(abs(members[0].logits - members[1].logits).max()) > 1e-3
    softmax = np.stack([jax.nn.softmax(one.logits) for one in members])
    np.testing.assert_allclose(np.exp(said.mc.log_mean), softmax.mean(0), atol=1e-5)
    np.testing.assert_allclose(said.mc.std, softmax.std(0), atol=1e-5)
    np.testing.assert_allclose(said.mc_logits, np.stack([one.logits for one in members], 1), atol=1e-5)
    weight, bias = inference.ensemble_head(classifier, variables)
    np.testing.assert_allclose(said.features @ weight + bias[None], said.logits, atol=1e-5)


@pytest.mark.parametrize("method", ["confidnet", "deep_gamblers", "ensemble"])
def test_abandoned_after_any_epoch_it_comes_to_the_same_network(method, data, validation, finished, tmp_path):
    folder, steps = finished[method]
    for _ in steps:
        # Each run does one epoch more than the last and is then left.
        running = start(tmp_path, data, validation, method)
        for step in running:
            if step.row is not None:
                break
        running.close()
    list(start(tmp_path, data, validation, method))
    assert equal(result(tmp_path, method), result(folder, method))
    for name in ("history.csv", "training.json"):
        assert (tmp_path / name).read_text() == (folder / name).read_text()


BEST = dataclasses.replace(RECIPE, epochs=4, patience=2, select="best")

KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import jax
from test_fit import BEST, RECIPE
from tiny_task import draw, tiny
from sfjax.training import METHODS
from sfjax.training import fit, step as one_step
recipe = {"RECIPE": RECIPE, "BEST": BEST}[sys.argv[4]]
steps, original = 0, one_step._step
def counted(*arguments):
    global steps
    steps += 1
    if steps == int(sys.argv[3]):
        os._exit(9)  # nothing is closed, nothing waited for
    return original(*arguments)
one_step._step = counted
for _ in fit.fit(METHODS["cross_entropy"].network(tiny, 2), draw(24, 0), draw(10, 1), method=METHODS["cross_entropy"],
                 recipe=recipe, num_classes=2, key=jax.random.key(0), folder=Path(sys.argv[2]), every=1):
    pass
"""


@pytest.mark.parametrize("recipe", ["RECIPE", "BEST"])
def test_killed_at_any_step_and_continued_it_comes_to_the_same_bits(recipe, data, validation, tmp_path):
    killed, whole, used = tmp_path / "killed", tmp_path / "whole", {"RECIPE": RECIPE, "BEST": BEST}[recipe]
    for step in (2, 3, 4):
        arguments = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(killed), str(step), recipe]
        done = subprocess.run(arguments, capture_output=True, text=True)
        assert done.returncode == 9, done.stderr
    list(start(killed, data, validation, every=1, recipe=used))
    list(start(whole, data, validation, recipe=used))
    assert equal(result(killed, "cross_entropy", used), result(whole, "cross_entropy", used))
    for name in ("history.csv", "training.json"):
        assert (killed / name).read_text() == (whole / name).read_text()


def test_a_truncated_checkpoint_is_refused_with_its_path_and_the_one_before_serves(
    data, validation, finished, tmp_path
):
    running = start(tmp_path, data, validation)
    next(running), next(running)
    running.close()
    newest = max((tmp_path / "checkpoints" / "cross_entropy" / "last").iterdir(), key=lambda path: int(path.name))
    for file in newest.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    steps = list(start(tmp_path, data, validation))
    assert str(newest) in steps[0].notes[0] and "refused" in steps[0].notes[0] and steps[0].epoch == 1
    assert equal(result(tmp_path, "cross_entropy"), result(finished["cross_entropy"][0], "cross_entropy"))


# Where reading fails, Orbax leaves coroutines behind that complain of a closed event loop when they are collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_whichever_file_is_cut_short_it_is_noticed_or_does_no_harm(tmp_path):
    state = {"weights": np.arange(12.0, dtype=np.float32).reshape(3, 4), "step": np.full((), 7, np.int32)}
    with Checkpoints(tmp_path / "whole") as checkpoints:
        checkpoints.save(1, {**state, "step": np.full((), 6, np.int32)})
        checkpoints.save(2, state)
    files = [file.relative_to(tmp_path / "whole" / "2") for file in (tmp_path / "whole" / "2").rglob("*")]
    refused = set()
    for i, (file, share) in enumerate((file, share) for file in files for share in (0.0, 0.5)):
        folder = tmp_path / f"cut_{i}"
        shutil.copytree(tmp_path / "whole", folder)
        path = folder / "2" / file
        if path.is_dir():
            continue
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        with Checkpoints(folder) as checkpoints:
            found = checkpoints.latest(state)
        if found.refused:
            refused.add(file)
            assert str(folder / "2") in found.refused[0] and int(found.state["step"]) == 6
            assert (tmp_path / f"cut_{i}_refused" / "2" / file).exists()  # not deleted
        else:
            assert equal(found.state, state)
    assert {file.parts[-2] for file in refused} >= {"d"}  # the arrays themselves
    gc.collect()


def test_a_lower_number_replaces_what_was_saved_after_it(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for number, value in ((1, 1.0), (2, 2.0), (3, 3.0), (2, 4.0)):
            checkpoints.save(number, {"weights": np.full(2, value)})
        assert float(checkpoints.latest({"weights": np.zeros(2)}).state["weights"][0]) == 4
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(ValueError, match=f"no checkpoint {tmp_path}/3"):
        checkpoints.read(3, {"weights": np.zeros(2)})


def test_the_checkpoints_of_another_run_or_network_are_refused(data, validation, tmp_path):
    running = start(tmp_path, data, validation, seed=1)
    next(running)
    running.close()
    with pytest.raises(ValueError, match="another seed") as error:
        next(start(tmp_path, data, validation, seed=0))
    assert str(tmp_path) in str(error.value) and "Delete the folder" in str(error.value)
    wider = fit(
        tiny(num_classes=3), data, validation, folder=tmp_path, method=METHODS["cross_entropy"], recipe=RECIPE,
        num_classes=3, key=jax.random.key(1),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"another network: .*\(8, 2\).*\(8, 3\)"):
        next(wider)


def test_divergence_names_the_last_good_checkpoint(data, validation, tmp_path):
    next(start(tmp_path, data, validation))
    images = (data.images / 255).astype(np.float32)
    images[5] = np.nan
    broken = Labelled(images, data.labels, data.ids)
    with pytest.raises(DivergedError, match=r"The last good checkpoint is .*last.3\."):
        list(start(tmp_path, broken, validation))


def test_early_stopping_and_the_best_epoch(data, validation, tmp_path):
    # Labels by lot: the validation AURC does not keep falling.
    lots = Labelled(data.images, np.random.default_rng(5).integers(0, 2, 24).astype(np.int32), data.ids)
    recipe = dataclasses.replace(RECIPE, epochs=12, patience=2, select="best")
    steps = list(start(tmp_path, lots, validation, recipe=recipe))
    areas = [step.row["val_aurc"] for step in steps]
    best = areas.index(min(areas)) + 1
    assert len(areas) == best + 2 < 12
    assert json.loads((tmp_path / "training.json").read_text())["epochs"] == {"cross_entropy": best}
    # The network that is left is the one after that epoch, trained without files.
    classifier, (stage,) = METHODS["cross_entropy"].network(tiny, 2), METHODS["cross_entropy"].stages(recipe, 0.0)
    state = begin(stage, recipe, initial_variables(classifier, (8, 8, 1), KEY), 24, KEY)
    *_, progress = itertools.islice(train(classifier, lots, stage=stage, recipe=recipe, state=state), best)
    assert equal(result(tmp_path, "cross_entropy", recipe), progress.state.variables)
    # Where it is gone, nothing else is taken for it.
    shutil.rmtree(tmp_path / "checkpoints" / "cross_entropy" / "best" / str(best))
    with pytest.raises(ValueError, match=f"There is no checkpoint .*best/{best}. Put it back, or delete"):
        list(start(tmp_path, lots, validation, recipe=recipe))


def test_gamblers_go_on_from_the_best_epoch_with_its_own_optimizer(data, validation, tmp_path):
    lots = Labelled(data.images, np.random.default_rng(5).integers(0, 2, 24).astype(np.int32), data.ids)
    recipe = dataclasses.replace(RECIPE, epochs=6, select="best", rewards=(1.5,))
    list(start(tmp_path, lots, validation, "deep_gamblers", recipe))
    epochs = json.loads((tmp_path / "training.json").read_text())["epochs"]
    assert epochs["cross_entropy"] < 6  # else nothing is shown
    like = begin(
        METHODS["deep_gamblers"].stages(recipe, 1.5)[1], recipe, result(tmp_path, "deep_gamblers", recipe), 24, KEY,
        before=None,
    )  # fmt: skip
    with Checkpoints(tmp_path / "checkpoints" / "gambling_1.5" / "last") as checkpoints:
        moments = checkpoints.latest(like).state.optimizer
    counts = {int(leaf) for leaf in jax.tree.leaves(moments) if leaf.shape == ()}
    assert counts == {3 * (epochs["cross_entropy"] + 1)}  # three steps an epoch, and one of gambling


def test_a_history_that_is_gone_is_named(data, validation, tmp_path):
    next(start(tmp_path, data, validation))
    (tmp_path / "history.csv").unlink()
    with pytest.raises(ValueError, match="has 0 epochs of cross_entropy, and its checkpoint 1"):
        next(start(tmp_path, data, validation))


def test_weights_do_not_decay_where_confidence_is_learned():
    recipe = dataclasses.replace(RECIPE, weight_decay=10.0, decay="coupled")
    _, head, _ = METHODS["confidnet"].stages(recipe, 0.0)
    zero, adam = {"confidence": jax.numpy.zeros(3)}, optimizer(head, recipe, 3)
    with jax.numpy_dtype_promotion("standard"):
        moved, _ = adam.update(zero, adam.init(zero), {"confidence": jax.numpy.ones(3)})
    assert not np.asarray(moved["confidence"]).any()


def test_recipes_out_of_range_are_refused(data, validation, tmp_path):
    with pytest.raises(ValueError, match="epochs must be at least 1; got 0"):
        next(start(tmp_path, data, validation, recipe=dataclasses.replace(RECIPE, epochs=0)))
    with pytest.raises(ValueError, match="one thing twice"):
        next(start(tmp_path, data, validation, "deep_gamblers", dataclasses.replace(RECIPE, rewards=(1.5, 1.5))))


def test_a_batch_that_does_not_divide_is_named(data, validation, tmp_path):
    recipe = dataclasses.replace(RECIPE, batch_size=40, accumulate=5)
    with pytest.raises(ValueError, match="24 images cannot be computed in 5 equal parts"):
        next(start(tmp_path, data, validation, recipe=recipe))


def test_a_tensorboard_log_holds_the_history(data, validation, tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    steps = list(start(tmp_path, data, validation, tensorboard=True))
    (log,) = (tmp_path / "tensorboard").iterdir()
    content, found = log.read_bytes(), {}
    while content:  # TFRecord: length, its checksum, the event, its checksum
        length = int.from_bytes(content[:8], "little")
        for value in Event.FromString(content[12 : 12 + length]).summary.value:
            found.setdefault(value.tag, []).append(value.simple_value)
        content = content[16 + length :]
    np.testing.assert_allclose(found["cross_entropy/loss"], [step.row["loss"] for step in steps], rtol=1e-6)
    np.testing.assert_allclose(found["cross_entropy/val_aurc"], [step.row["val_aurc"] for step in steps], rtol=1e-6)
