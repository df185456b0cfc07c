"""A whole training run: all stages of a method, with validation, checkpoints and logs, stopped and continued."""

import json
import math
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Key

from sfjax import inference
from sfjax.csf import CSFS
from sfjax.files import write_whole
from sfjax.inference import Devices
from sfjax.metrics import aurc
from sfjax.models import Classifier, Variables
from sfjax.training.checkpoints import Checkpoints, wait_for_all
from sfjax.training.logs import History, Row, TensorBoard
from sfjax.training.loop import DivergedError, Labelled, begin, initial_variables, steps_per_epoch, train
from sfjax.training.methods import Method, Stage
from sfjax.training.recipes import Recipe, check, rewards_for
from sfjax.training.sharding import DataParallel, local
from sfjax.training.step import TrainState


class Step(NamedTuple):
    """How far a run is.

    Attributes:
        stage: Its name.
        epoch: Epochs of the stage that are done.
        epochs: Of the stage.
        done: Epochs of the whole run that are done.
        total: Of the whole run.
        row: What the epoch came to, None where it was done before.
        notes: What a person should know.
    """

    stage: str
    epoch: int
    epochs: int
    done: int
    total: int
    row: Row | None = None
    notes: tuple[str, ...] = ()


class _Run(NamedTuple):
    classifier: Classifier
    method: Method
    data: Labelled
    validation: Labelled
    recipe: Recipe
    key: Array
    folder: Path
    history: History
    board: TensorBoard | None
    every: int | None
    devices: Devices | None
    batch_size: int
    total: int


def fit(
    classifier: Classifier,
    data: Labelled,
    validation: Labelled,
    *,
    method: Method,
    recipe: Recipe,
    num_classes: int,
    key: Key[Array, ""],
    folder: Path,
    variables: Variables | None = None,
    every: int | None = None,
    tensorboard: bool = False,
    devices: Devices | None = None,
    batch_size: int = 256,
) -> Iterator[Step]:
    """Yields after each epoch of each stage, and leaves the trained network in the folder, where `trained` finds it.

    Called again with the same arguments it goes on from the newest checkpoint, exactly as it would have. The folder
    gets `checkpoints/STAGE/last` and `/best`, `history.csv`, `network` and `training.json`, which records what was
    chosen. Several processes call it together, with a folder that all of them see.

    Args:
        classifier: From `method.network`.
        data: To learn from.
        validation: For the validation AURC and accuracy, early stopping and choices.
        method: One of `METHODS`.
        recipe: How to train.
        num_classes: Of the task.
        key: The run's.
        folder: Where files go; of this run alone.
        variables: Weights to begin with, such as pretrained ones; stacked for an ensemble.
        every: Checkpoints after every so many steps besides those after epochs.
        tensorboard: Write a TensorBoard log too.
        devices: Each batch is divided between them; None takes all there are.
        batch_size: Of validation.

    Raises:
        DivergedError: The loss is not finite; the message names step, images and the last good checkpoint.
        ValueError: Something is out of its range, or no checkpoint in the folder can be read.
    """
    check(recipe)
    common, choices = _plan(method, recipe, num_classes)
    folder.mkdir(parents=True, exist_ok=True)
    wait_for_all(f"{folder} begins")
    total = num_epochs(method, recipe, num_classes)
    if method.ensemble:
        key = jax.random.split(key, recipe.members)
    board = TensorBoard(folder / "tensorboard") if tensorboard and jax.process_index() == 0 else None
    run = _Run(
        *(classifier, method, data, validation, recipe, key, folder, History(folder / "history.csv"), board),
        *(every, devices, batch_size, total),
    )
    begun = initial_variables(classifier, data.images.shape[1:], key) if variables is None else variables
    try:
        done, before, found = 0, None, {}
        for stage in common:
            found[stage.name] = yield from _stage(run, stage, begun, before, done)
            begun, before, done = found[stage.name].variables, found[stage.name].last, done + stage.epochs
        facts: dict[str, Any] = {}
        if choices:
            for stage in choices.values():
                found[stage.name] = yield from _stage(run, stage, begun, before, done)
                done += stage.epochs
            areas = {reward: found[stage.name].aurc for reward, stage in choices.items()}
            chosen = min(areas, key=lambda reward: math.inf if math.isnan(areas[reward]) else areas[reward])
            begun = found[choices[chosen].name].variables
            facts = {"reward": chosen, "rewards": {str(reward): area for reward, area in areas.items()}}
        facts["epochs"] = {name: one.epoch for name, one in found.items()}
    finally:
        if board is not None:
            board.close()
    with Checkpoints(folder / "network", keep=1) as checkpoints:
        checkpoints.save(0, begun)
    if jax.process_index() == 0:
        text = json.dumps(facts, indent=2) + "\n"
        write_whole(folder / "training.json", lambda file: file.write_text(text, encoding="utf-8"))
    wait_for_all(f"{folder} ends")  # nobody looks for the network before it is there


def num_epochs(method: Method, recipe: Recipe, num_classes: int) -> int:
    """Returns the epochs of a whole run, the last stage of every reward that is tried among them."""
    common, choices = _plan(method, recipe, num_classes)
    return sum(stage.epochs for stage in (*common, *choices.values()))


def _plan(method: Method, recipe: Recipe, num_classes: int) -> tuple[tuple[Stage, ...], dict[float, Stage]]:
    """Returns the stages that are always trained, and by reward the last ones that are tried after them, if any."""
    if not method.chooses_reward:
        return method.stages(recipe, math.nan), {}
    tried = {reward: method.stages(recipe, reward) for reward in rewards_for(recipe, num_classes)}
    return next(iter(tried.values()))[:-1], {reward: stages[-1] for reward, stages in tried.items()}


def trained(
    classifier: Classifier, image_shape: tuple[int, ...], folder: Path, *, method: Method, recipe: Recipe
) -> Variables | None:
    """Returns the variables that `fit` left in a folder, or None where it has not come to its end.

    Args:
        classifier: As for `fit`.
        image_shape: (h, w, k).
        folder: As for `fit`.
        method: As for `fit`.
        recipe: As for `fit`.

    Raises:
        ValueError: They cannot be read, or are another network's.
    """
    if not (folder / "training.json").exists():
        return None
    key = jax.random.key(0)

    def like() -> Variables:
        variables = initial_variables(
            classifier, image_shape, jax.random.split(key, recipe.members) if method.ensemble else key
        )
        for stage in method.stages(recipe, 2.0):
            variables = variables if stage.begin is None else stage.begin(variables)
        return variables

    with Checkpoints(folder / "network", keep=1) as checkpoints:
        return local(checkpoints.latest(DataParallel().shapes(jax.eval_shape(like))).state)


class _Result(NamedTuple):
    variables: Variables
    last: TrainState
    epoch: int
    aurc: float


def _stage(
    run: _Run, stage: Stage, variables: Variables, before: TrainState | None, done: int
) -> Generator[Step, None, _Result]:
    """Trains a stage from its newest checkpoint on; returns what was selected of it."""
    start = begin(stage, run.recipe, variables, len(run.data.images), run.key, before=before)
    start = DataParallel(run.devices).replicate(start)
    folder, steps = run.folder / "checkpoints" / stage.name, steps_per_epoch(run.recipe, len(run.data.images))
    with Checkpoints(folder / "last") as last, Checkpoints(folder / "best") as best:
        state, refused = last.latest(start)
        state = start if state is None else state
        rows = run.history.of(stage.name, until=int(state.epoch))
        if rows or refused:
            notes = tuple(f"Checkpoint refused, the one before it is used: {reason}" for reason in refused)
            epoch = int(state.epoch)
            yield Step(stage.name, epoch, stage.epochs, done + epoch, run.total, notes=notes)
        if len(rows) != int(state.epoch):
            raise ValueError(
                f"{run.folder / 'history.csv'} has {len(rows)} epochs of {stage.name}, and its checkpoint "
                f"{int(state.epoch)}. Put the file back, or delete the folder to train anew."
            )
        best.forget_after(int(state.epoch))
        saved = int(state.epoch) * steps + int(state.step)
        training = train(
            run.classifier,
            run.data,
            stage=stage,
            recipe=run.recipe,
            state=state,
            every=run.every,
            devices=run.devices,
        )
        while not _stopped(rows, run.recipe):
            try:
                progress = next(training, None)
            except DivergedError as error:
                good = f"The last good checkpoint is {last.folder / str(saved)}."
                where = good if saved else "No checkpoint was written before."
                raise DivergedError(f"{error} {where}", error.epoch, error.step, error.image_ids) from error
            if progress is None:
                break
            state, number = progress.state, progress.epoch * steps + progress.step
            if progress.step:
                last.save(number, state)
                saved = number
                continue
            accuracy, area = _validate(run, stage, local(state.variables))
            row = {
                "stage": stage.name,
                "epoch": progress.epoch,
                "loss": float(np.mean(progress.loss)),
                "val_accuracy": accuracy,
                "val_aurc": area,
            }
            rows.append(row)
            if _best(rows) == len(rows) - 1:
                best.save(progress.epoch, state)
                best.wait()  # killed now, the history must not know of an epoch better than the best that is there
            if jax.process_index() == 0:
                run.history.add(row)
                if run.board is not None:
                    run.board.add(row, done + progress.epoch)
            last.save(number, state)
            saved = number
            yield Step(stage.name, progress.epoch, stage.epochs, done + progress.epoch, run.total, row)
        if run.recipe.select == "best":
            row = rows[_best(rows)]
            chosen = best.read(row["epoch"], start)
            return _Result(chosen.variables, chosen, row["epoch"], row["val_aurc"])
        return _Result(state.variables, state, int(state.epoch), rows[-1]["val_aurc"])


def _stopped(rows: Sequence[Row], recipe: Recipe) -> bool:
    """Returns whether the validation AURC has not fallen for as many epochs as the recipe has patience."""
    if recipe.patience is None or not rows:
        return False
    return len(rows) - 1 - _best(rows) >= recipe.patience


def _best(rows: Sequence[Row]) -> int:
    """Returns the place of the lowest validation AURC, the first of several; one that is not a number is never low."""
    areas = [math.inf if math.isnan(row["val_aurc"]) else row["val_aurc"] for row in rows]
    return areas.index(min(areas))


def _validate(run: _Run, stage: Stage, variables: Variables) -> tuple[float, float]:
    """Returns accuracy and AURC on the validation images, by the score that the stage is about."""
    images, labels, ids = run.validation
    if run.method.ensemble:
        said = inference.run_ensemble(run.classifier, variables, images, labels, ids, batch_size=run.batch_size)
    else:
        # Nothing is drawn: the key is of no account.
        said = inference.run(
            run.classifier, variables, images, labels, ids, key=jax.random.key(0), batch_size=run.batch_size
        )
    csf = CSFS[stage.csf]
    failure = csf.predict(said) != jnp.asarray(said.labels)
    found = np.array([1 - failure.mean(), aurc(csf.score(said), failure)])
    if jax.process_count() > 1:  # processors that round otherwise must not choose otherwise
        found = multihost_utils.broadcast_one_to_all(found)
    return float(found[0]), float(found[1])
