"""Four virtual devices, and two processes, agree with one device."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

LONGEST = 900
"""Seconds. Alone on two cores two processes take 40; they wait for each other at hundreds of places, and each wait is
long where other work is on the cores."""
PROGRAM = """
import dataclasses, faulthandler, hashlib, json, os, sys
from pathlib import Path
folder, run_folder, devices, process, processes, port, wide = *map(Path, sys.argv[1:3]), *map(int, sys.argv[3:-1])
faulthandler.dump_traceback_later(int(sys.argv[-1]), exit=True)  # says where it waits
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
sys.path.insert(0, str(folder))
import jax
if processes > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", processes, process)
jax.config.update("jax_enable_x64", bool(wide))
import jax.numpy as jnp, numpy as np, optax
from tiny_task import draw, tiny
from sfjax import inference
from sfjax.models import Classifier, Heads, dropout, mask_keys
from sfjax.training import METHODS, Recipe, begin, initial_variables, train
from sfjax.training.sharding import DataParallel, local
assert jax.device_count() == devices * processes
data = draw(32, 0)
kind = jnp.float64 if wide else jnp.float32
data = data._replace(images=(data.images / 255).astype(kind))
method = METHODS["devries"]  # the loss that draws and carries
classifier = method.network(tiny, 2)
recipe = Recipe(epochs=5, batch_size=8, learning_rate=1e-2, warmup=0.0)
(stage,) = method.stages(recipe, 0.0)
key = jax.random.key(0)
variables = jax.tree.map(lambda leaf: leaf.astype(kind), initial_variables(classifier, (8, 8, 1), key))
state = begin(stage, recipe, variables, 32, key)
state = state._replace(carry=jax.tree.map(lambda leaf: leaf.astype(kind), state.carry), loss=state.loss.astype(kind))
found = []
for progress in train(classifier, data, stage=stage, recipe=recipe, state=state, every=1):
    found.append(local(progress.state))
first, last = found[0], found[-1]
numbers = lambda tree: np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(tree)]).tolist()
said = inference.run(classifier, local(last.variables), *data, key=jax.random.key(1), num_samples=3, batch_size=32,
                     devices=jax.local_devices(), keep_passes=True)
# A network that says nothing but its mask, to compare masks bit for bit.
mask = Classifier(None, lambda _, images: images[:, 0, 0], lambda _, one, keys: Heads(one, dropout(
    jnp.ones((len(one), 64), kind), mask_keys(keys, 0), 0.1)), None, None)
masks = inference.run(mask, {}, *data, key=jax.random.key(2), num_samples=3, batch_size=4 * len(jax.local_devices()),
                      passes_at_once=2, keep_passes=True)
history, facts = [], {}
if wide:  # a whole run, whose choices all processes make alike
    from sfjax.training.fit import fit
    settings = dataclasses.replace(recipe, epochs=3, gambler_epochs=1, rewards=(1.3, 1.7), select="best", patience=1)
    method = METHODS["deep_gamblers"]
    gambler = method.network(tiny, 2)
    begun = jax.tree.map(lambda leaf: leaf.astype(kind), initial_variables(gambler, (8, 8, 1), key))
    validation = draw(16, 1)
    validation = validation._replace(images=(validation.images / 255).astype(kind))
    for _ in fit(gambler, data, validation, method=method, recipe=settings, num_classes=2, key=key, folder=run_folder,
                 variables=begun):
        pass
    history = [line.split(",") for line in (run_folder / "history.csv").read_text().splitlines()[1:]]
    facts = json.loads((run_folder / "training.json").read_text())
print(json.dumps({
    "history": history, "epochs": facts.get("epochs"), "reward": facts.get("reward"),
    "masks": hashlib.sha256(np.asarray(masks.mc_logits).tobytes()).hexdigest(),
    "variables": numbers(last.variables),
    "moments": [numbers(leaf) for leaf in jax.tree.leaves(optax.tree.get(first.optimizer, "mu"))],
    "loss": float(progress.loss),
    "logits": np.asarray(said.mc_logits, np.float64).tolist(),
}))
"""

TWO_FOLDERS = """
import faulthandler, random, sys, time
from pathlib import Path
folder, process, port = Path(sys.argv[1]), *map(int, sys.argv[2:4])
faulthandler.dump_traceback_later(int(sys.argv[4]), exit=True)
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{port}", 2, process)
import numpy as np
from sfjax.training.checkpoints import Checkpoints
from sfjax.training.sharding import DataParallel
parallel = DataParallel()
small, large = (parallel.replicate({"weight": np.ones((size, 1000), np.float32)}) for size in (10, 3000))
with Checkpoints(folder / "last") as last, Checkpoints(folder / "best") as best:
    uneven = random.Random(process)
    for number in range(1, 31):
        best.save(number, small)
        best.wait()
        time.sleep(0.02 * uneven.random())
        last.save(number, large)  # still being written when the next best one is
        time.sleep(0.05 * uneven.random())
    last.wait()
    found = [int(one.latest(tree).state["weight"].sum()) for one, tree in ((best, small), (last, large))]
print(found)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def together(programs: Iterable[list[str]]) -> list[str]:
    """Returns what Python programs print that run at the same time; each is its text and its arguments."""
    running = [
        subprocess.Popen([sys.executable, "-c", *program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for program in programs
    ]
    try:
        # All at once: a full pipe would stop a process, and with it the others.
        with ThreadPoolExecutor() as pool:
            said = list(pool.map(lambda one: one.communicate(timeout=LONGEST + 60), running))
    finally:
        for one in running:
            one.kill()
            one.wait()
    assert all(one.returncode == 0 for one in running), "\n".join(errors[-3000:] for _, errors in said)
    return [out for out, _ in said]


def launch(run_folder: Path, devices: int, processes: int, wide: bool) -> dict:
    """Returns what 20 steps came to, the same in every process."""
    port = free_port()
    folder = Path(__file__).parent
    said = together(
        [PROGRAM, *map(str, (folder, run_folder, devices, process, processes, port, int(wide), LONGEST))]
        for process in range(processes)
    )
    results = [json.loads(out.splitlines()[-1]) for out in said]
    assert all(one["variables"] == results[0]["variables"] for one in results)
    return results[0]


@pytest.fixture(scope="module", params=[True, False], ids=["float64", "float32"])
def one(request, tmp_path_factory):
    return request.param, launch(tmp_path_factory.mktemp("one"), 1, 1, request.param)


@pytest.mark.parametrize(("devices", "processes"), [(4, 1), (1, 2)], ids=["four devices", "two processes"])
def test_devices_and_processes_agree_with_one(one, devices, processes, tmp_path):
    wide, alone = one
    together = launch(tmp_path, devices, processes, wide)
    assert together["masks"] == alone["masks"]
    assert together["loss"] == pytest.approx(alone["loss"], abs=1e-8 if wide else 1e-4)
    assert (together["epochs"], together["reward"]) == (alone["epochs"], alone["reward"])
    assert [row[:2] for row in together["history"]] == [row[:2] for row in alone["history"]]
    if wide:
        found, expected = (np.array([row[2:] for row in run["history"]], float) for run in (together, alone))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)  # AURC is a float32
        np.testing.assert_allclose(together["variables"], alone["variables"], rtol=0, atol=1e-8)
        np.testing.assert_allclose(together["logits"], alone["logits"], rtol=0, atol=1e-8)
    # Adam's first moments after one step are a tenth of the gradient: each array's, against its largest entry.
    for moments, expected in zip(map(np.array, together["moments"]), map(np.array, alone["moments"]), strict=True):
        assert np.abs(expected).max() > 0
        assert np.abs(moments - expected).max() <= 1e-5 * np.abs(expected).max()


def test_two_folders_are_written_at_the_same_time_by_two_processes(tmp_path):
    port = free_port()
    said = together([TWO_FOLDERS, str(tmp_path), str(process), str(port), "120"] for process in range(2))
    assert [out.splitlines()[-1] for out in said] == ["[10000, 3000000]"] * 2
