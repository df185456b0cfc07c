import hashlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sfjax.data.arrays import sha256_of_array
from sfjax.data.images import decode_images, image_ids

GRAY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
DEEP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
RGB = np.stack([GRAY, GRAY[::-1], GRAY.T], axis=-1)


def decode(path, size=8, **options):
    return decode_images([path], size=size, **options)


def problem(path) -> str:
    decoded = decode(path)
    assert decoded.pixels.max() == 0
    return decoded.problems[0].detail


def png_16bit_rgb(pixels: np.ndarray) -> bytes:
    """Pillow cannot write this format."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", ["png", "tiff", "bmp"])
@pytest.mark.parametrize("pixels", [GRAY, RGB], ids=["gray", "rgb"])
def test_8_bit_files_come_back_as_they_are(tmp_path, suffix, pixels):
    path = tmp_path / f"ä.{suffix}"
    Image.fromarray(pixels).save(path)
    decoded = decode(path)
    np.testing.assert_array_equal(decoded.pixels[0], pixels.reshape(8, 8, -1), strict=True)
    assert decoded.sha256 == [hashlib.sha256(path.read_bytes()).hexdigest()]
    assert not decoded.problems and not decoded.notes


def test_jpeg(tmp_path):
    Image.fromarray(RGB // 8 + 100).save(tmp_path / "a.jpg", quality=100, subsampling=0)
    assert np.abs(decode(tmp_path / "a.jpg").pixels[0].astype(int) - (RGB // 8 + 100)).max() <= 4


@pytest.mark.parametrize(("order", "suffix"), [("I;16", "png"), ("I;16", "tiff"), ("I;16B", "tiff")])
def test_16_bit_gray_keeps_all_bits(tmp_path, order, suffix):
    data = DEEP.astype(">u2" if order == "I;16B" else "<u2").tobytes()
    Image.frombytes(order, (8, 8), data).save(tmp_path / f"a.{suffix}")
    decoded = decode(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(decoded.pixels[0, :, :, 0], DEEP, strict=True)


def test_16_bit_tiff_where_zero_is_white(tmp_path):
    Image.fromarray(DEEP).save(tmp_path / "a.tiff", tiffinfo={262: 0})
    np.testing.assert_array_equal(decode(tmp_path / "a.tiff").pixels[0, :, :, 0], 65535 - DEEP)


def test_16_bit_color_is_read_with_8_bit_and_that_is_said(tmp_path):
    pixels = RGB.astype(np.uint16) * 257
    (tmp_path / "a.png").write_bytes(png_16bit_rgb(pixels))
    decoded = decode(tmp_path / "a.png")
    np.testing.assert_array_equal(decoded.pixels[0], RGB)
    assert decoded.notes == ["1 of 1 images are 16-bit color, of which 8 bit are read."]


def test_palette_1_bit_and_opaque_alpha(tmp_path):
    Image.fromarray(RGB).quantize(4).save(tmp_path / "color.png")
    Image.fromarray(GRAY).convert("P").save(tmp_path / "gray.png")  # a palette of grays
    Image.fromarray(GRAY > 100).save(tmp_path / "bit.png")
    Image.fromarray(np.dstack([RGB, np.full((8, 8), 255, np.uint8)])).save(tmp_path / "alpha.png")
    assert decode(tmp_path / "color.png").pixels.shape == (1, 8, 8, 3)
    np.testing.assert_array_equal(decode(tmp_path / "gray.png").pixels[0], GRAY[:, :, None], strict=True)
    np.testing.assert_array_equal(decode(tmp_path / "bit.png").pixels[0, :, :, 0], (GRAY > 100) * np.uint8(255))
    np.testing.assert_array_equal(decode(tmp_path / "alpha.png").pixels[0], RGB)


def test_mixed_sets_become_rgb_and_16_bit(tmp_path):
    white = np.full((8, 8), 255, np.uint8)
    Image.fromarray(white).save(tmp_path / "a.png")
    Image.fromarray(RGB).save(tmp_path / "b.png")
    decoded = decode_images([tmp_path / "a.png", tmp_path / "b.png"], size=8)
    assert decoded.pixels.shape == (2, 8, 8, 3) and (decoded.pixels[0] == 255).all()
    assert decoded.notes == ["1 gray and 1 RGB images: all are RGB now."]
    Image.fromarray(DEEP).save(tmp_path / "c.png")
    decoded = decode_images([tmp_path / "a.png", tmp_path / "c.png"], size=8)
    assert decoded.pixels.dtype == np.uint16 and (decoded.pixels[0] == 65535).all()
    assert "1 8-bit images among 1 16-bit ones" in decoded.notes[0]
    Image.fromarray(DEEP // 16).save(tmp_path / "d.png")
    assert f"above {DEEP.max() // 16} of 65535: if they are 12-bit" in decode(tmp_path / "d.png").notes[0]


def test_channels_are_converted_on_request(tmp_path):
    Image.fromarray(np.full((8, 8, 3), [200, 100, 50], np.uint8)).save(tmp_path / "a.png")
    # 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2
    assert np.unique(decode(tmp_path / "a.png", channels=1).pixels).tolist() == [124]
    Image.fromarray(GRAY).save(tmp_path / "b.png")
    np.testing.assert_array_equal(decode(tmp_path / "b.png", channels=3).pixels[0], np.dstack([GRAY] * 3))


def test_shorter_side_is_resized_with_antialiasing_and_the_center_cut_out(tmp_path):
    # 24 x 8: columns of one pixel, black and white, darker outside of the middle square.
    pixels = np.broadcast_to(np.arange(24) % 2 * np.array([200, 255, 200]).repeat(8), (8, 24)).astype(np.uint8)
    for name, image in {"a.png": pixels, "b.png": (pixels.astype(np.uint16) * 257)}.items():
        Image.fromarray(image).save(tmp_path / name)
        same = decode(tmp_path / name)
        np.testing.assert_array_equal(same.pixels[0, :, :, 0], image[:, 8:16])
        assert same.notes == ["1 of 1 images are cut to a square, losing more than a tenth of their area."]
    white = np.iinfo(np.uint16).max
    half = decode(tmp_path / "b.png", size=2).pixels[0, :, :, 0] / white
    np.testing.assert_allclose(half, 0.5, atol=0.05)  # picking pixels would give 0 or 1
    assert "smaller than the working size" in decode(tmp_path / "a.png", size=9).notes[1]


def test_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # shown rotated by 90 degrees clockwise
    Image.fromarray(GRAY).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "a.png").pixels[0, :, :, 0], np.rot90(GRAY, -1))


def test_files_that_give_no_image(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "whole.png")
    Image.fromarray(RGB).save(tmp_path / "whole.bmp")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    for name in ("whole.png", "whole.bmp", "whole.jpg"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name.replace("whole", "cut")).write_bytes(data[: len(data) * 2 // 3])
    assert all("OSError" in problem(tmp_path / f"cut.{suffix}") for suffix in ("png", "jpg", "bmp"))
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.fromarray(GRAY).save(tmp_path / "a.gif")
    assert all(problem(tmp_path / f) == "not a PNG, JPEG, TIFF or BMP file" for f in ("text.png", "empty.png", "a.gif"))
    (tmp_path / "folder.png").mkdir()
    assert "cannot be opened" in problem(tmp_path / "folder.png")
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "cmyk.tiff")
    assert "pixel mode CMYK" in problem(tmp_path / "cmyk.tiff")
    Image.fromarray(GRAY.astype(np.float32)).save(tmp_path / "float.tiff")
    assert "pixel mode F" in problem(tmp_path / "float.tiff")
    Image.fromarray(np.dstack([RGB, GRAY])).save(tmp_path / "alpha.png")
    assert "partly transparent" in problem(tmp_path / "alpha.png")
    pages = [Image.fromarray(GRAY), Image.fromarray(GRAY.T)]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    assert "2 pictures in one file" in problem(tmp_path / "pages.tiff")
    assert decode(tmp_path / "absent.png").problems[0] == ("missing file", "no such file")
    for limit in (63, 31):  # Pillow warns above the limit and raises above twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert f"more than {limit} pixels" in problem(tmp_path / "whole.png")


def test_order_progress_and_one_broken_among_many(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(path)
    paths[7].write_bytes(b"broken")
    seen: list[tuple[int, int]] = []
    decoded = decode_images(paths, size=4, workers=4, progress=lambda done, total: seen.append((done, total)))
    assert decoded.pixels[:, 0, 0, 0].tolist() == [*range(7), 0, *range(8, 20)]
    assert list(decoded.problems) == [7] and decoded.sha256[7] == hashlib.sha256(b"broken").hexdigest()
    assert seen == [(i, 20) for i in range(1, 21)]
    with pytest.raises(ValueError, match="size is 0"):
        decode_images(paths, size=0)


def test_ids_come_from_content():
    assert image_ids(["00000001" + "f" * 56, "ffffffff" + "0" * 56]).tolist() == [1, 2**32 - 1]
    image = GRAY[:, :, None]
    assert sha256_of_array(image) == sha256_of_array(image[::-1].copy()[::-1])
    others = [image.reshape(4, 16, 1), image.astype(np.uint16), image + np.uint8(1)]
    assert len({sha256_of_array(other) for other in [image, *others]}) == 4
