"""Images that stay on disk: decoded when they are asked for, and ahead of time by workers while others are in use."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Int, Shaped

from sfjax.data.decoding import convert, load

_AT_A_TIME = 8
"""Images that a worker decodes in a row: handing over each small one alone takes half as long as decoding it."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images of equal shape in files, to be indexed along the first axis like an array of shape (n, h, w, k).

    Made by `load_dataset(..., images_in="disk")` after every file was read once. Each file's hash is compared whenever
    the file is read again, so that what is trained on is what was checked.

    Attributes:
        paths: Of the images, as text in the forms of `sfjax.data.image_paths`.
        names: What errors call the files, such as the manifest's row and path.
        sha256: Hash in hexadecimal of each image's content when it was checked.
        image_shape: (h, w, k) of every image, h = w.
        dtype: uint8 or uint16; the type's full range is 0 to 1.
    """

    paths: Shaped[np.ndarray, " n"]
    names: Shaped[np.ndarray, " n"]
    sha256: Shaped[np.ndarray, " n"]
    image_shape: tuple[int, int, int]
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, h, w, k)."""
        return (len(self), *self.image_shape)

    @property
    def ndim(self) -> int:
        """4."""
        return 4

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int | slice | Sequence | np.integer | np.ndarray) -> Shaped[np.ndarray, "*m h w k"]:
        """Returns the images, decoded, that NumPy would return of an array of them, shape (h, w, k) for an integer.

        Args:
            index: Integer, slice, integers or mask along the first axis.

        Raises:
            ValueError: A file is gone or is not the one that was checked.
        """
        rows = np.asarray(np.arange(len(self))[index])  # of an integer it is no array
        return self._batch(rows, map(self._decoded, np.unique(rows)))

    def take(self, rows: Int[np.ndarray, " m"], axis: int = 0) -> "ImageFiles":
        """Returns the files at the given positions, undecoded: what `numpy.ndarray.take` is to images in memory.

        Args:
            rows: Positions, from 0.
            axis: 0, the only one along which files can be taken.
        """
        if axis != 0:
            raise ValueError(f"Files are taken along the first axis, and axis is {axis}. Index the decoded images.")
        return ImageFiles(self.paths[rows], self.names[rows], self.sha256[rows], self.image_shape, self.dtype)

    def prefetch(
        self, batches: Iterable[Int[np.ndarray, " _"]], *, workers: int | None = None, ahead: int = 2
    ) -> Iterator[Shaped[np.ndarray, "_ h w k"]]:
        """Yields the images of one batch after the other, `self[batch]`, while workers decode those that follow.

        The order is the caller's and the same for any number of workers. To resume, give what is left of the batches.
        Work starts with the first `next`; closing or dropping the iterator ends it.

        Args:
            batches: Positions of the images of each batch: those of one epoch, say. All are read before the first
                image is.
            workers: Threads that decode, which Pillow does outside of Python's lock; 0 decodes when the batch is asked
                for; None is one a processor.
            ahead: How many batches, of the size of the largest, are held decoded.

        Raises:
            ValueError: A file is gone or is not the one that was checked; from `next`, in place of its batch.
        """
        rows = [np.arange(len(self))[batch] for batch in batches]
        if workers == 0 or not rows:
            yield from map(self.__getitem__, rows)
            return
        import grain  # here, because it takes a second and most of what reads images does without

        if workers is None:
            workers = os.cpu_count() or 1
        parts = [_parts(np.unique(batch)) for batch in rows]
        decoded = grain.MapDataset.source(list(chain(*parts))).map(lambda part: [self._decoded(row) for row in part])
        held = max(workers, ahead * max(map(len, parts)))
        stream = iter(decoded.to_iter_dataset(grain.ReadOptions(num_threads=workers, prefetch_buffer_size=held)))
        images = chain.from_iterable(stream)
        try:
            for batch in rows:
                yield self._batch(batch, images)
        finally:
            stream.close()

    def _batch(
        self, rows: Int[np.ndarray, "*m"], images: Iterator[Shaped[np.ndarray, "h w k"]]
    ) -> Shaped[np.ndarray, "*m h w k"]:
        """Returns the images of the rows, where `images` are those of the distinct rows in ascending order."""
        # A last batch may be filled up with one image many times: it is decoded once.
        distinct, place = np.unique(rows, return_inverse=True)
        batch = np.empty((*rows.shape, *self.image_shape), self.dtype)
        for i in range(len(distinct)):
            batch[place == i] = next(images)
        return batch

    def _decoded(self, row: int | np.integer) -> Shaped[np.ndarray, "h w k"]:
        loaded = load(self.paths[row], self.image_shape[0])
        if loaded.sha256 == self.sha256[row] and loaded.pixels is not None:
            return convert(loaded.pixels, self.image_shape[2], self.dtype)
        changed = loaded.sha256 not in ("", self.sha256[row])
        what = "its content has changed" if changed or loaded.problem is None else loaded.problem.detail
        raise ValueError(
            f"{self.names[row]}: {what}. Files must stay as they were when the data set was loaded: put this one back, "
            "or load the data set again."
        )


def _parts(rows: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " _"]]:
    return [rows[start : start + _AT_A_TIME] for start in range(0, len(rows), _AT_A_TIME)]
