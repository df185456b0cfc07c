"""Data parallel by sharding: each batch is divided between devices, everything else is on all of them.

The step is the same program as on one device: XLA divides it along the images and adds what has to be added, batch
statistics too. With several processes (`jax.distributed.initialize`) each one gives the rows that its devices hold.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from sfjax.inference import Devices


class DataParallel:
    """Where batches and everything else are.

    Args:
        devices: Of all processes; None takes all there are.
    """

    def __init__(self, devices: Devices | None = None) -> None:
        self._mesh = Mesh(np.asarray(jax.devices() if devices is None else devices), ("images",))

    @property
    def size(self) -> int:
        """How many devices."""
        return self._mesh.size

    def rows(self, n: int) -> Int[np.ndarray, " m"]:
        """Returns which rows of a batch of n this process has to give, in order.

        Raises:
            ValueError: The devices cannot share n images equally.
        """
        if n % self.size:
            raise ValueError(
                f"A batch is divided between {self.size} devices, and {n} images are no multiple of that. "
                "Choose another batch_size."
            )
        sharding = NamedSharding(self._mesh, PartitionSpec("images"))
        parts = {part[0].indices(n) for part in sharding.addressable_devices_indices_map((n,)).values() if part}
        return np.concatenate([np.arange(*part) for part in sorted(parts)])

    def divide(self, rows: np.ndarray, n: int, *, axis: int = 0) -> jax.Array:
        """Returns a batch of n on the devices, from the rows that this process has to give.

        Args:
            rows: As `rows` names them, on `axis`.
            n: In the whole batch.
            axis: The images'.
        """
        sharding = NamedSharding(self._mesh, PartitionSpec(*(None,) * axis, "images"))
        shape = (*rows.shape[:axis], n, *rows.shape[axis + 1 :])
        return jax.make_array_from_process_local_data(sharding, rows, shape)

    def replicate(self, tree: Any) -> Any:
        """Returns the arrays on every device."""
        return jax.device_put(tree, NamedSharding(self._mesh, PartitionSpec()))

    def shapes(self, tree: Any) -> Any:
        """Returns what `replicate` would of such arrays, or of their shapes, without making any."""
        sharding = NamedSharding(self._mesh, PartitionSpec())
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


def local(tree: Any) -> Any:
    """Returns replicated arrays as this process's own, for work that the others have no part in."""
    return jax.tree.map(lambda leaf: leaf if leaf.is_fully_addressable else leaf.addressable_data(0), tree)
