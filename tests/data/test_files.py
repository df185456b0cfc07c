"""Images that stay on disk: the same pixels as in memory, in the caller's order, whatever the workers do."""

import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfjax.data import ImageFiles, decode_images

SIZE = 8
INDICES = {
    "integer": 3,
    "from the end": -1,
    "NumPy's integer": np.int64(4),
    "all": slice(None),
    "backwards": slice(7, 2, -2),
    "list": [2, 0],
    "array with a repeat": np.array([5, 5, 1]),
    "mask": np.arange(11) % 3 == 0,
    "empty list": [],
    "empty array": np.array([], int),
    "two axes": np.array([[0, 1], [1, 10]]),
}


def pixels(seed: int, *shape: int, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def write_colors(folder: Path) -> None:
    for i in range(11):
        Image.fromarray(pixels(i, 12, 16 + i, 3)).save(folder / f"{i:02d}.jpg")


def write_gray(folder: Path) -> None:
    for i in range(5):
        Image.fromarray(pixels(i, SIZE, SIZE)).save(folder / f"{i}.png")


def write_every_kind(folder: Path) -> None:
    """8-bit gray before RGB before 16 bit, so that what all have in common is known with the last one only."""
    Image.fromarray(pixels(0, SIZE, SIZE)).save(folder / "0.png")
    rotated = Image.Exif()
    rotated[274] = 6
    Image.fromarray(pixels(1, 10, 14, 3)).save(folder / "1.jpg", exif=rotated)
    (folder / "2.png").write_bytes(b"broken")
    Image.fromarray(pixels(3, SIZE, SIZE, dtype=np.uint16)).save(folder / "3.png")
    Image.fromarray(pixels(4, 20, SIZE)).save(folder / "4.tiff")


def opened(folder: Path, **options) -> tuple[ImageFiles, np.ndarray]:
    """The images of a folder on disk and in memory."""
    paths = sorted(folder.iterdir())
    on_disk, in_memory = (
        decode_images(paths, size=SIZE, images_in=where, **options).pixels for where in ("disk", "memory")
    )
    return on_disk, in_memory


@pytest.fixture
def colors(tmp_path) -> tuple[ImageFiles, np.ndarray]:
    write_colors(tmp_path)
    return opened(tmp_path)


def workers_alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("grain")]


def assert_workers_end() -> None:
    # A worker ends when the image that it is decoding is done.
    until = time.monotonic() + 10
    while workers_alive():
        assert time.monotonic() < until, workers_alive()
        time.sleep(0.01)


@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("write", [write_colors, write_gray, write_every_kind])
def test_pixels_are_those_of_memory(tmp_path, write, channels):
    write(tmp_path)
    paths = sorted(tmp_path.iterdir())
    on_disk, in_memory = (
        decode_images(paths, size=SIZE, channels=channels, images_in=where) for where in ("disk", "memory")
    )
    assert on_disk[1:] == in_memory[1:]  # hashes, problems, notes
    readable = np.array([i for i in range(len(paths)) if i not in in_memory.problems])
    files = on_disk.pixels.take(readable)
    np.testing.assert_array_equal(files[:], in_memory.pixels[readable], strict=True)
    assert (files.shape, files.ndim, files.dtype) == ((len(readable), *in_memory.pixels.shape[1:]), 4, files[0].dtype)
    kinds = {write_colors: (np.uint8, 3), write_gray: (np.uint8, 1), write_every_kind: (np.uint16, 3)}
    assert files.dtype == kinds[write][0] and files.shape[-1] == (channels or kinds[write][1])


def test_an_array_grows_when_images_of_another_kind_come(tmp_path):
    write_every_kind(tmp_path)
    stored = decode_images(sorted(tmp_path.iterdir()), size=SIZE).pixels
    # 8-bit gray becomes RGB and is multiplied by 257; what could not be read stays 0.
    first = pixels(0, SIZE, SIZE).astype(np.uint16) * np.uint16(257)
    np.testing.assert_array_equal(stored[0], np.dstack([first] * 3), strict=True)
    assert stored[1].max() > 255 and not stored[2].any()
    np.testing.assert_array_equal(stored[3], np.dstack([pixels(3, SIZE, SIZE, dtype=np.uint16)] * 3), strict=True)


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_an_index_means_what_it_means_to_numpy(colors, index):
    files, array = colors
    np.testing.assert_array_equal(files[index], array[index], strict=True)


def test_what_is_not_there_cannot_be_indexed(colors):
    files, _ = colors
    assert len(list(files)) == len(files) == 11
    for index in (11, -12, np.array([0, 11])):
        with pytest.raises(IndexError, match="out of bounds"):
            files[index]
    with pytest.raises(IndexError, match="out of bounds"):
        next(files.prefetch([np.array([0]), np.array([11])], workers=1))
    assert_workers_end()


def test_taken_files_are_the_images_at_these_positions(colors):
    files, array = colors
    rows = np.array([7, 1, 7, 4])
    taken = files.take(rows, axis=0)
    assert isinstance(taken, ImageFiles) and taken.shape == (4, SIZE, SIZE, 3)
    np.testing.assert_array_equal(taken[:], array.take(rows, axis=0))
    again = taken.take(np.array([3]))
    np.testing.assert_array_equal(again[0], array[4])
    assert len(files.take(np.array([], int))) == 0
    with pytest.raises(ValueError, match="along the first axis, and axis is 1"):
        files.take(rows, axis=1)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("ahead", [1, 4])
def test_batches_come_in_the_callers_order_and_can_be_resumed(colors, workers, ahead):
    files, array = colors
    order = np.random.default_rng(1).permutation(11)
    # Batches of several sizes; one is filled up with its last image, in one the order is not ascending.
    batches = [order[:4], order[4:8], np.array([9, 2, 2, 2]), order[8:], np.array([], int), np.array([-1])]
    whole = list(files.prefetch(batches, workers=workers, ahead=ahead))
    assert len(whole) == len(batches)
    for batch, images in zip(batches, whole, strict=True):
        np.testing.assert_array_equal(images, array[batch], strict=True)
    resumed = files.prefetch((batch for batch in batches[3:]), workers=workers, ahead=ahead)
    for expected, images in zip(whole[3:], resumed, strict=True):
        np.testing.assert_array_equal(images, expected, strict=True)
    assert list(files.prefetch([], workers=workers)) == []
    assert [len(images) for images in files.prefetch([np.array([], int)], workers=workers)] == [0]
    assert_workers_end()


def test_workers_decode_ahead_but_not_everything(colors, monkeypatch):
    files, _ = colors
    decoded: list[int] = []
    by_row = ImageFiles._decoded

    def counted(self, row):
        decoded.append(row)
        return by_row(self, row)

    monkeypatch.setattr(ImageFiles, "_decoded", counted)
    batches = files.prefetch(np.arange(10).reshape(5, 2), workers=1, ahead=2)
    time.sleep(0.05)
    assert not decoded  # an iterator that nobody asks costs nothing
    next(batches)
    until = time.monotonic() + 10
    while len(decoded) < 6 and time.monotonic() < until:  # the batch, and two more without being asked
        time.sleep(0.01)
    time.sleep(0.05)
    assert decoded == list(range(6))
    batches.close()
    assert_workers_end()
    assert len(decoded) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iterator_that_is_left_alone_leaves_nothing_behind(colors, workers):
    files, array = colors
    for images in files.prefetch([np.array([i % 11]) for i in range(500)], workers=workers):
        np.testing.assert_array_equal(images, array[:1])
        break
    assert_workers_end()
    unused = files.prefetch([np.arange(11)], workers=workers)
    del unused
    failing = files.prefetch([np.arange(5)] * 50, workers=workers)
    with pytest.raises(RuntimeError, match="the consumer's"):
        for _ in failing:
            raise RuntimeError("the consumer's")
    failing.close()
    assert next(failing, None) is None
    assert_workers_end()


@pytest.mark.parametrize("workers", [None, 0, 1])
def test_a_file_that_is_not_the_one_that_was_checked_stops_its_batch(tmp_path, workers):
    write_colors(tmp_path)
    files = decode_images(
        sorted(tmp_path.iterdir()), size=SIZE, images_in="disk", names=[f"m.csv row {i + 2}: {i}" for i in range(11)]
    ).pixels
    before = files[:]
    Image.fromarray(pixels(99, 12, 16, 3)).save(tmp_path / "05.jpg")  # another image, whole
    (tmp_path / "08.jpg").unlink()
    remedy = "Files must stay as they were when the data set was loaded: put this one back, or load the data set again"
    for row, what in ((5, "m.csv row 7: 5: its content has changed"), (8, "m.csv row 10: 8: no such file")):
        batches = files.prefetch([np.array([0, 1]), np.array([2, row]), np.array([3, 4])], workers=workers)
        assert next(batches).shape == (2, SIZE, SIZE, 3)
        with pytest.raises(ValueError, match=f"^{what}. {remedy}"):
            next(batches)
        assert next(batches, None) is None
        with pytest.raises(ValueError, match=what):
            files[np.array([0, row])]
    assert_workers_end()
    np.testing.assert_array_equal(files[:5], before[:5])  # the others are as good as ever


def test_a_file_that_could_not_be_read_from_the_first_is_named_by_its_path(tmp_path):
    (tmp_path / "a.png").write_bytes(b"broken")
    files = decode_images([tmp_path / "a.png"], size=SIZE, images_in="disk").pixels
    with pytest.raises(ValueError, match=r"a\.png: not a PNG, JPEG, TIFF or BMP file\. Files must"):
        files[0]


def test_images_are_kept_in_memory_or_on_disk():
    with pytest.raises(ValueError, match="images_in is 'cloud'"):
        decode_images.__wrapped__([], size=SIZE, images_in="cloud")  # past the checked annotations


PEAK = """
import sys, tracemalloc
from pathlib import Path
from sfjax.data import decode_images
paths = sorted(Path(sys.argv[1]).iterdir())
decode_images(paths[:3], size=128, images_in=sys.argv[2])
tracemalloc.start()
images = decode_images(paths, size=128, images_in=sys.argv[2]).pixels
print(tracemalloc.get_traced_memory()[1] / (300 * 128 * 128 * 3))
tracemalloc.stop()
assert images[:][:, 5, 5, 0].tolist() == [i % 256 for i in range(300)]
"""


@pytest.mark.parametrize(("where", "least", "most"), [("disk", 0, 0.2), ("memory", 1, 1.7)])
def test_memory_and_order_of_many_images(tmp_path, where, least, most):
    """In a process of its own: in this one, threads of other tests may still be at work."""
    for i in range(300):
        Image.fromarray(np.full((16, 16, 3), i % 256, np.uint8)).save(tmp_path / f"{i:03d}.png")
    command = [sys.executable, "-c", PEAK, str(tmp_path), where]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # Of what the pixels take. In memory: they themselves, a third for a gray array that nothing is written to, and the
    # 64 of 300 that wait for their turn.
    assert least <= float(said) <= most


def test_files_can_be_sent_to_another_process(colors):
    files, array = colors
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(files))[:], array)


def test_without_grain_images_are_decoded_when_they_are_asked_for(colors, tmp_path):
    files, array = colors
    (tmp_path / "files").write_bytes(pickle.dumps(files))
    program = f"""
import pickle, sys
sys.modules["grain"] = None
import sfjax.data
files = pickle.loads(open({str(tmp_path / "files")!r}, "rb").read())
print(sum(int(batch.sum()) for batch in files.prefetch([[0, 1], [2]], workers=0)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == str(array[:3].sum()), done.stderr
