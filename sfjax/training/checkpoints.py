"""Checkpoints by Orbax: written in the background, whole or not at all; the newest readable one is used."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from sfjax.training.step import TrainState

LONGEST_WAIT: Final = 7 * 24 * 3600
"""Seconds. A process that has nothing to do waits for one that scores a whole task."""


def wait_for_all(name: str) -> None:
    """Waits until every process is here, for days if it must be; orders what they write and read on a common disk."""
    ocp.multihost.get_barrier_sync_fn()(key=name, timeout_ms=1000 * LONGEST_WAIT)


class Found(NamedTuple):
    """What a folder of checkpoints holds.

    Attributes:
        state: The newest that can be read, or None where there is none.
        refused: Why newer ones cannot be, with their paths.
    """

    state: Any
    refused: tuple[str, ...]


class Checkpoints:
    """Numbered checkpoints in one folder.

    Args:
        folder: Where they are; made if it is missing.
        keep: How many of the newest stay.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        # Several processes meet at barriers that are known by name. Two folders in which they write at the same time
        # would share the names, and each process wait for the other at another one, forever.
        barriers = ocp.options.MultiprocessingOptions(barrier_sync_key_prefix="_".join(folder.absolute().parts[-2:]))
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=True, cleanup_tmp_directories=True, multiprocessing_options=barriers
        )
        handler = ocp.StandardCheckpointHandler()
        self._manager = ocp.CheckpointManager(folder.absolute(), item_handlers=handler, options=options)

    @property
    def folder(self) -> Path:
        """Where they are."""
        return Path(self._manager.directory)

    def save(self, number: int, state: Any) -> None:
        """Begins to write a state under a number, after what was begun before.

        Checkpoints of that number and above are replaced by it: where training goes on from an earlier one, they are
        of a run that is no more.

        Args:
            number: Checkpoints are ordered by it.
            state: A pytree of arrays, none of which may be donated or changed afterwards.
        """
        if number <= max(self._manager.all_steps(), default=-1):
            self.forget_after(number - 1)
        self._manager.save(number, args=ocp.args.StandardSave(state), force=True)

    def wait(self) -> None:
        """Waits for what is being written."""
        self._manager.wait_until_finished()

    def forget_after(self, number: int) -> None:
        """Deletes the checkpoints of higher numbers, which will be made again."""
        self.wait()
        for later in [one for one in self._manager.all_steps() if one > number]:
            self._manager.delete(later)

    def latest(self, like: Any) -> Found:
        """Returns the newest state that can be read, and why newer ones cannot.

        Those refused are moved to the folder's neighbor of the name `FOLDER_refused` once an older one serves in their
        place: what could not be read today may be readable tomorrow.

        Args:
            like: A state of the same network and recipe, for structure, shapes, types and where the arrays go; of a
                `TrainState`, the key is compared too.

        Raises:
            ValueError: There are checkpoints and none of them can be read; the message names folder and reasons.
        """
        self.wait()
        refused, unreadable = [], []
        for number in sorted(self._manager.all_steps(), reverse=True):
            try:
                state = self._read(number, like)
            except Exception as error:  # cut short, whatever Orbax makes of that, or of another network or run
                unreadable.append(number)
                refused.append(f"{self.folder / str(number)}: {_reason(error)}")
                continue
            self._move_away(unreadable)
            return Found(state, tuple(refused))
        if refused:
            raise ValueError(
                f"No checkpoint in {self.folder} can be read. {'; '.join(refused)}. Delete the folder to train anew."
            )
        return Found(None, ())

    def read(self, number: int, like: Any) -> Any:
        """Returns the state of that number.

        Args:
            number: As saved.
            like: As for `latest`.

        Raises:
            ValueError: It is not there or cannot be read; the message names its path.
        """
        self.wait()
        path = self.folder / str(number)
        if number not in self._manager.all_steps():
            raise ValueError(
                f"There is no checkpoint {path}. Put it back, or delete {self.folder.parent} to train anew."
            )
        try:
            return self._read(number, like)
        except Exception as error:
            raise ValueError(
                f"The checkpoint {path} cannot be read: {_reason(error)}. Put it back, or delete {self.folder.parent} "
                "to train anew."
            ) from error

    def _move_away(self, numbers: Sequence[int]) -> None:
        if not numbers:
            return
        away = self.folder.with_name(f"{self.folder.name}_refused")
        if jax.process_index() == 0:
            away.mkdir(exist_ok=True)
            for number in numbers:
                shutil.rmtree(away / str(number), ignore_errors=True)
                (self.folder / str(number)).rename(away / str(number))
        wait_for_all(str(away))
        self._manager.reload()

    def _read(self, number: int, like: Any) -> Any:
        # Asked first, because Orbax reads the arrays all the same and floods the terminal with what went wrong.
        found = Counter(tuple(leaf.shape) for leaf in jax.tree.leaves(self._manager.item_metadata(number)))
        wanted = Counter(leaf.shape for leaf in jax.tree.leaves(like))
        if not found:
            raise ValueError("it is cut short: what it holds is not written in it")
        if found != wanted:
            surplus, missing = (sorted(shapes.elements()) for shapes in (found - wanted, wanted - found))
            raise ValueError(f"it is of another network: arrays {surplus} where this one has {missing}")
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        state: Any = self._manager.restore(number, args=ocp.args.StandardRestore(abstract))
        if isinstance(like, TrainState) and not np.array_equal(state.key, like.key):
            raise ValueError("it is of a run with another seed")
        return state

    def close(self) -> None:
        """Waits for what is being written and lets go of the folder."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _reason(error: Exception) -> str:
    """Returns what an error says on one line, without the pages that Orbax may add."""
    return " ".join(str(error).split())[:300]
