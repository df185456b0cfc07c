"""The networks of a run: one a task, training method and seed; trained, and asked about every set of images."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sfjax import inference, keys, outputs, shifts
from sfjax.data import Dataset
from sfjax.models import MODELS, Classifier, Variables, pretrained
from sfjax.outputs import Outputs
from sfjax.study.config import Config, Settings
from sfjax.study.evaluation import FailureCosts
from sfjax.study.tasks import TestSet
from sfjax.training import METHODS, Augmentation, Labelled, augment, initial_variables, with_weights
from sfjax.training.fit import fit, num_epochs, trained
from sfjax.training.step import stack


class Task(NamedTuple):
    """A task at work: its data and where its files are."""

    name: str
    dataset: Dataset
    settings: Settings
    test_sets: list[TestSet]
    folder: Path
    costs: FailureCosts | None = None

    def network_folder(self, method: str, seed: int) -> Path:
        """Returns where everything of one network is."""
        return self.folder / method / f"seed_{seed}"

    def outputs_path(self, method: str, seed: int, test_set: str) -> Path:
        """Returns where a network's outputs on a set are."""
        return self.network_folder(method, seed) / "outputs" / f"{test_set}.npz"

    def said(self, config: Config, seed: int, test_set: str) -> dict[str, Outputs]:
        """Returns what the networks of one seed say of a set, by training method."""
        return {method: outputs.load(self.outputs_path(method, seed, test_set)) for method in config.methods}


def stored_sets(task: Task) -> list[TestSet]:
    """Returns all sets whose outputs are stored: train, val and cal too."""
    source = [TestSet(split, split, "none", "iid") for split in ("train", "val", "cal")]
    return source + task.test_sets


def make_network(config: Config, task: Task) -> Callable[..., Classifier]:
    """Returns `make(num_classes=...)` of the task's plain network, with the precision and memory that are asked for."""
    return functools.partial(
        MODELS[task.settings.network], dtype=compute_dtype(config.compute), checkpoint=config.recompute
    )


def compute_dtype(compute: str) -> Any:
    """Returns what networks compute in by `Config.compute`; None is the type of images and weights, float32."""
    short = compute == "bfloat16" or (compute == "auto" and jax.default_backend() != "cpu")
    return jnp.bfloat16 if short else None


def network_of(config: Config, task: Task, method: str) -> Classifier:
    """Returns the network that a method trains."""
    return METHODS[method].network(make_network(config, task), len(task.dataset.classes))


def train_network(config: Config, task: Task, method: str, seed: int) -> Iterator[tuple[str, int]]:
    """Trains a network from where it is; yields what was done and how many epochs that were."""
    folder, recipe, num_classes = task.network_folder(method, seed), task.settings.recipe, len(task.dataset.classes)
    if (folder / "head.npz").exists():
        yield "trained", num_epochs(METHODS[method], recipe, num_classes)
        return
    classifier, done = network_of(config, task, method), 0
    key, devices = keys.stream(jax.random.key(seed), "train"), None
    train, validation = (_labelled(task, split) for split in ("train", "val"))
    if jax.process_count() == 1:
        size = min(recipe.batch_size, len(train.labels))
        devices = _devices(size)
        if len(devices) < jax.device_count():
            yield f"only {len(devices)} of {jax.device_count()} devices can share {size} images a step equally", 0
    for step in fit(
        classifier,
        train,
        validation,
        method=METHODS[method],
        recipe=recipe,
        num_classes=num_classes,
        key=key,
        folder=folder,
        variables=_pretrained(config, task, method, key),
        every=config.checkpoint_steps,
        tensorboard=config.tensorboard,
        devices=devices,
        batch_size=config.inference_batch_size,
    ):
        text = f"{step.stage} epoch {step.epoch} of {step.epochs}"
        if step.row is None:
            text += " from its checkpoint"
        else:
            text += f", val accuracy {step.row['val_accuracy']:.3f}, AURC {1000 * step.row['val_aurc']:.0f}"
        yield "; ".join([text, *step.notes]), step.done - done
        done = step.done
    if (left := num_epochs(METHODS[method], recipe, num_classes) - done) > 0:
        yield "stopped early", left
    variables = variables_of(config, task, method, seed)
    if METHODS[method].ensemble:
        weight, bias = inference.ensemble_head(classifier, variables)
    else:
        weight, bias = classifier.head(variables)
    if jax.process_index() == 0:
        outputs.write_npz(folder / "head.npz", {"weight": np.asarray(weight), "bias": np.asarray(bias)})


def store_outputs(config: Config, task: Task, method: str, seed: int) -> Iterator[tuple[str, list[TestSet]]]:
    """Stores what is missing of a network's outputs; yields what was done and on which sets."""
    missing = [one for one in stored_sets(task) if not task.outputs_path(method, seed, one.name).exists()]
    if finished := [one for one in stored_sets(task) if one not in missing]:
        yield "outputs there", finished
    if not missing:
        return
    variables = variables_of(config, task, method, seed)
    if jax.process_index() != 0:
        return  # every process reads a checkpoint together with the others, and one asks the network
    for test_set in missing:
        said = classify(config, task, method, variables, seed, test_set)
        path = task.outputs_path(method, seed, test_set.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        outputs.save(said, path)
        yield f"outputs on {test_set.name}", [test_set]


def classify(config: Config, task: Task, method: str, variables: Variables, seed: int, test_set: TestSet) -> Outputs:
    """Returns what a network says about a set, without passes of any kind about the training set."""
    transform = corruption(config, test_set) if test_set.kind == "corruption" else None
    data, passes = _labelled(task, test_set.split), test_set.split != "train"
    return ask(config, task, method, variables, seed, data, passes=passes, transform=transform)


def ask(
    config: Config,
    task: Task,
    method: str,
    variables: Variables,
    seed: int,
    data: Labelled,
    *,
    passes: bool = True,
    transform: inference.Transform | None = None,
) -> Outputs:
    """Returns what a network says about images.

    An ensemble's members are its passes, and it sees no augmented copies.

    Args:
        config: The run.
        task: Whose network.
        method: How it was trained.
        variables: Its weights and statistics.
        seed: Its seed, which draws the dropout masks too.
        data: The images.
        passes: Whether there are Monte Carlo and augmented passes.
        transform: Applied to the images first.
    """
    classifier, size = network_of(config, task, method), config.inference_batch_size
    if METHODS[method].ensemble:
        return inference.run_ensemble(classifier, variables, *data, batch_size=size, transform=transform)
    return inference.run(
        classifier,
        variables,
        *data,
        key=keys.stream(jax.random.key(seed), "mc_dropout"),
        num_samples=config.num_samples if passes else 0,
        augmentations=config.num_augmentations if passes else 0,
        augmentation=_augment(task.settings.recipe.augmentation),
        batch_size=size,
        passes_at_once=config.passes_at_once,
        transform=transform,
    )


@functools.cache
def _augment(augmentation: Augmentation) -> inference.Augment:
    """Returns what augments one image as in training: one function for all sets, for which a program is compiled."""
    return functools.partial(augment, augmentation=augmentation)


def corruption(config: Config, test_set: TestSet) -> inference.Transform:
    """Returns the corruption of a test set for batches: the same for every network."""
    key = keys.stream(jax.random.key(config.data_seed), "corruption")
    return lambda images, ids: shifts.apply(test_set.shift, key, images, ids, level=test_set.level)


def _devices(batch_size: int) -> list[Any]:
    """Returns as many devices as can share a batch equally."""
    devices = jax.devices()
    return devices[: max(number for number in range(1, len(devices) + 1) if batch_size % number == 0)]


def _labelled(task: Task, split: str) -> Labelled:
    images, table = task.dataset.subset(split)
    return Labelled(images, table["label_index"].to_numpy(np.int32), table["image_id"].to_numpy(np.uint32))


def variables_of(config: Config, task: Task, method: str, seed: int) -> Variables:
    """Returns the weights and statistics of a trained network.

    Raises:
        ValueError: It was not trained.
    """
    folder = task.network_folder(method, seed)
    found = trained(
        network_of(config, task, method),
        task.dataset.images.shape[1:],
        folder,
        method=METHODS[method],
        recipe=task.settings.recipe,
    )
    if found is None:
        raise ValueError(f"The network in {folder} cannot be found. Delete that folder to train it again.")
    return found


def _pretrained(config: Config, task: Task, method: str, key: Any) -> Variables | None:
    """Returns what training begins with where pretrained weights are given; each member has a head of its own."""
    path = config.pretrained
    if path is None:
        return None
    shape = task.dataset.images.shape[1:]
    plain = METHODS[method].plain(make_network(config, task), len(task.dataset.classes))

    def begun(key: Any) -> Variables:
        # A reservation is none of the classes that the weights know, even where the numbers of outputs agree.
        new_head = METHODS[method].extra_logits > 0
        weights = pretrained.load(path, plain, channels=shape[-1], key=keys.stream(key, "init"), new_head=new_head)
        return with_weights(initial_variables(network_of(config, task, method), shape, key), weights)

    if not METHODS[method].ensemble:
        return begun(key)
    return stack([begun(one) for one in jax.random.split(key, task.settings.recipe.members)])
