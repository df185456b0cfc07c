"""Checkpoints of training by Orbax: written whole or not at all, the newest readable one is used."""

from collections import Counter
from pathlib import Path
from typing import cast

import jax
import orbax.checkpoint as ocp

from sfjax.training.loop import TrainState


class Checkpoints:
    """The checkpoints of one training run in one folder, numbered by epoch.

    Args:
        folder: Where they are; made if it is missing.
        keep: How many of the newest stay.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=False)
        handler = ocp.StandardCheckpointHandler()
        self._manager = ocp.CheckpointManager(folder.absolute(), item_handlers=handler, options=options)

    def save(self, state: TrainState) -> None:
        """Writes the state under its epoch."""
        self._manager.save(int(state.epoch), args=ocp.args.StandardSave(state))

    def latest(self, like: TrainState) -> TrainState | None:
        """Returns the newest state that can be read, or None where there is none.

        Args:
            like: A state of the same network and recipe, for structure, shapes and types.

        Raises:
            ValueError: There are checkpoints and none of them can be read; the message names folder and reasons.
        """
        wanted = Counter(leaf.shape for leaf in jax.tree.leaves(like))
        reasons, unreadable = [], []
        for epoch in sorted(self._manager.all_steps(), reverse=True):
            try:
                # Asked first, because Orbax reads the arrays all the same and floods the terminal with what went wrong.
                found = Counter(tuple(leaf.shape) for leaf in jax.tree.leaves(self._manager.item_metadata(epoch)))
                if found != wanted:
                    surplus, missing = (sorted(shapes) for shapes in (found - wanted, wanted - found))
                    raise ValueError(f"it is of another network: arrays {surplus} where this one has {missing}")
                restored = self._manager.restore(epoch, args=ocp.args.StandardRestore(jax.eval_shape(lambda: like)))
                for broken in unreadable:  # Orbax would not write over them
                    self._manager.delete(broken)
                return cast(TrainState, restored)
            except (ValueError, OSError, KeyError) as error:  # cut short, or of another network
                unreadable.append(epoch)
                reasons.append(f"epoch {epoch}: {' '.join(str(error).split())[:200]}")
        if reasons:
            raise ValueError(
                f"No checkpoint in {self._manager.directory} can be read ({'; '.join(reasons)}). "
                "Delete the folder to train anew."
            )
        return None

    def close(self) -> None:
        """Waits for what is being written and lets go of the folder."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
