"""Images that are not one picture file: one file a channel, DICOM, arrays in `.npz`."""

import builtins
import hashlib
import io
import zipfile

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)

from sfjax.data import ManifestError, arrays, decode_images, load_dataset, sha256_of_array
from sfjax.data.decoding import convert, load
from sfjax.data.image_paths import normalized, sources, within

GRAY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
DEEP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040


def problem(path, size: int = 8) -> str:
    loaded = load(path, size)
    assert loaded.pixels is None and loaded.problem is not None
    return loaded.problem.detail


def dicom(path, pixels: np.ndarray, syntax=ExplicitVRLittleEndian, **tags) -> str:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.SOPClassUID = CTImageStorage
    data.PatientName = "Curie^Marie"
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    data.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.HighBit = data.BitsAllocated - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        setattr(data, name, value)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    data.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data["PixelData"].VR = "OW"
    if syntax == RLELossless:
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.compress(RLELossless, generate_instance_uid=False)
    elif syntax.is_encapsulated:
        data.PixelData = pydicom.encaps.encapsulate([data.PixelData])
        data["PixelData"].VR = "OB"
    data.save_as(path, enforce_file_format=True)
    return str(path)


def channel_files(folder, count: int, dtype=np.uint8) -> tuple[str, np.ndarray]:
    planes = np.stack([np.roll(GRAY, i, axis=0).astype(dtype) for i in range(count)], axis=-1)
    names = [f"s1_w{i + 1}.png" for i in range(count)]
    for i, name in enumerate(names):
        Image.fromarray(planes[:, :, i]).save(folder / name)
    return ";".join(str(folder / name) for name in names), planes


@pytest.mark.parametrize(("count", "dtype"), [(2, np.uint8), (6, np.uint8), (6, np.uint16), (16, np.uint8)])
def test_one_file_a_channel_is_stacked_in_order_and_hashed_in_order(tmp_path, count, dtype):
    path, planes = channel_files(tmp_path, count, dtype)
    loaded = load(path, 8)
    np.testing.assert_array_equal(loaded.pixels, planes, strict=True)
    data = b"".join((tmp_path / f"s1_w{i + 1}.png").read_bytes() for i in range(count))
    assert loaded.sha256 == hashlib.sha256(data).hexdigest()
    turned = ";".join(reversed(path.split(";")))
    assert load(turned, 8).sha256 != loaded.sha256


def test_an_8_bit_channel_beside_16_bit_ones_keeps_its_white(tmp_path):
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(DEEP).save(tmp_path / "b.png")
    pixels = load(f"{tmp_path}/a.png;{tmp_path}/b.png", 8).pixels
    assert pixels.dtype == np.uint16 and (pixels[:, :, 0] == 65535).all()
    np.testing.assert_array_equal(pixels[:, :, 1], DEEP)


def test_what_can_be_wrong_with_channels_is_said_with_the_file(tmp_path):
    path, _ = channel_files(tmp_path, 3)
    (tmp_path / "s1_w2.png").unlink()
    missing = load(path, 8)
    assert missing.problem.kind == "missing file" and "s1_w2.png, channel 2" in missing.problem.detail
    Image.fromarray(np.stack([GRAY] * 3, -1)).save(tmp_path / "s1_w2.png")
    assert "each has one" in problem(path) and "s1_w2.png" in problem(path)
    Image.fromarray(GRAY[:4]).save(tmp_path / "s1_w2.png")
    assert "it has 8 x 4 pixels, and the first channel 8 x 8" in problem(path)
    (tmp_path / "s1_w2.png").write_bytes((tmp_path / "s1_w1.png").read_bytes()[:40])
    assert "s1_w2.png, channel 2" in problem(path)
    assert len(load(path, 8).sha256) == 64
    assert "semicolons" in problem(path + ";")
    assert "16 are the most" in problem(";".join(["a.png"] * 17))


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_images_of_another_number_of_channels_are_a_problem_not_a_crash(tmp_path, where):
    path, planes = channel_files(tmp_path, 6)
    two = ";".join(path.split(";")[:2])
    one = path.split(";")[0]
    decoded = decode_images(["gone.png", path, two, one, path], size=8, images_in=where)
    assert decoded.pixels.shape == (5, 8, 8, 6) and sorted(decoded.problems) == [0, 2, 3]
    assert decoded.problems[2] == ("another number of channels", "it has 2, those before it have 6")
    for i in (1, 4):
        np.testing.assert_array_equal(decoded.pixels[i], planes)
    asked = decode_images([path, one], size=8, channels=3, images_in=where)
    assert asked.problems[0].detail == "it has 6, asked for are 3" and list(asked.problems) == [0]
    with pytest.raises(ValueError, match="only gray and RGB become each other"):
        convert(planes, 3, np.dtype(np.uint8))


def test_a_manifest_of_every_form_is_loaded_below_its_folder(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = ["image_path,label,split"]
    rng = np.random.default_rng(3)
    stack = rng.integers(0, 256, (12, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "raw/stack.npz", images=stack)
    for i, (split, label) in enumerate((s, c) for s in ("train", "val", "cal", "iid_test") for c in "ab"):
        for k in (1, 2):
            Image.fromarray(stack[(i + k) % 12]).save(tmp_path / f"raw/{i}_w{k}.png")
        rows.append(f"raw\\{i}_w1.png; ./raw/{i}_w2.png,{label},{split}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    data = load_dataset(tmp_path / "manifest.csv", size=8, seed=0, images_in="disk")
    assert data.images.shape == (8, 8, 8, 2)
    row = int(np.flatnonzero(data.table["image_path"] == "raw/3_w1.png;raw/3_w2.png")[0])
    np.testing.assert_array_equal(data.images[row], stack[4:6].transpose(1, 2, 0))
    (tmp_path / "raw/3_w2.png").write_bytes((tmp_path / "raw/1_w2.png").read_bytes())
    with pytest.raises(ValueError, match="its content has changed"):
        data.images[row]
    sets = ("train", "val", "cal", "iid_test")
    rows = [rows[0], *(f"raw/stack.npz::images::{i},{'ab'[i % 2]},{sets[i // 3]}" for i in range(12))]
    (tmp_path / "manifest.csv").write_text("\n".join([*rows, "raw/stack.npz::images::12,a,train"]))
    with pytest.raises(ManifestError, match=r"row 14: raw/stack.npz::images::12: no item 12 in its array"):
        load_dataset(tmp_path / "manifest.csv", size=8, seed=0)


def test_paths_are_spelled_and_placed_file_by_file(tmp_path):
    assert normalized(r".\x.npz::a/b::3") == "x.npz::a/b::3"
    assert normalized("./a.dcm?window=-600,1500") == "a.dcm?window=-600,1500"
    assert within(tmp_path, "a.png;/b/c.png") == f"{tmp_path}/a.png;/b/c.png"
    assert within(tmp_path, "a.npz::x::1") == f"{tmp_path}/a.npz::x::1"
    (source,) = sources("a.dcm?window=-600,1500")
    assert source.window == (-600, 1500) and source.file == "a.dcm"
    for text in ("a.npz", "a.npz::", "a.npz::x::y", "a.npz::x::-1", "a.dcm?window=1", "a.dcm?window=1,0"):
        with pytest.raises(ValueError, match="write"):
            sources(text)


# --- arrays


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["uint8", "<u2", ">u2"])
def test_items_of_arrays_are_what_numpy_reads(tmp_path, save, order, dtype):
    stack = np.asarray(np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(dtype), order=order)
    save(tmp_path / "a.npz", other=stack[:1] + 1, images=stack, one=stack[2])
    for i in (0, 4):
        loaded = load(tmp_path / f"a.npz::images::{i}", 8)
        np.testing.assert_array_equal(loaded.pixels, stack[i])
        assert loaded.sha256 == sha256_of_array(stack[i].astype(stack.dtype.newbyteorder("=")))
    assert load(tmp_path / "a.npz::one", 8).sha256 == load(tmp_path / "a.npz::images::2", 8).sha256


def test_floats_become_16_bit_and_must_lie_in_0_to_1(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        good=GRAY / 255,
        high=GRAY / 200,
        bad=np.full((8, 8), np.nan),
        half=np.ones((8, 8), np.float16),
    )
    np.testing.assert_array_equal(load(tmp_path / "a.npz::good", 8).pixels[:, :, 0], GRAY.astype(np.uint16) * 257)
    assert load(tmp_path / "a.npz::half", 8).pixels.min() == 65535
    assert "0 to 1.26, and floats must be in [0, 1]" in problem(tmp_path / "a.npz::high")
    assert "nan" in problem(tmp_path / "a.npz::bad")


def test_what_can_be_wrong_with_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 9, 8, 20), np.uint8), numbers=np.zeros((8, 8), np.int64))
    np.savez(tmp_path / "o.npz", objects=np.array([[print, None]] * 2, dtype=object))
    assert "no array 'x' in it; there are images, numbers" in problem(tmp_path / "a.npz::x")
    assert "write ::INDEX" in problem(tmp_path / "a.npz::images")
    assert "is no image" in problem(tmp_path / "a.npz::images::0")
    assert "int64; images are uint8" in problem(tmp_path / "a.npz::numbers")
    assert "object" in problem(tmp_path / "o.npz::objects")  # never unpickled
    assert load(tmp_path / "none.npz::x", 8).problem.kind == "missing file"
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    assert "BadZipFile" in problem(tmp_path / "cut.npz::images::0")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 8, 8)})
    with zipfile.ZipFile(tmp_path / "lies.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(64))
    assert "not as long as its header says" in problem(tmp_path / "lies.npz::x::0")


def test_a_compressed_array_is_unpacked_once_and_anew_when_the_file_changes(tmp_path, monkeypatch):
    unpacked = []
    original = arrays.np.frombuffer
    monkeypatch.setattr(
        arrays.np, "frombuffer", lambda data, dtype: unpacked.append(len(data)) or original(data, dtype)
    )
    stack = np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8)
    np.savez_compressed(tmp_path / "a.npz", x=stack)
    paths = [f"{tmp_path}/a.npz::x::{i}" for i in range(50)]
    decoded = decode_images(paths, size=8, workers=4)
    np.testing.assert_array_equal(decoded.pixels[..., 0], stack)
    assert unpacked == [50 * 64]
    np.savez_compressed(tmp_path / "a.npz", x=stack[::-1].copy(), y=stack)
    np.testing.assert_array_equal(load(paths[0], 8).pixels[..., 0], stack[-1])
    np.savez(tmp_path / "b.npz", x=stack)
    unpacked.clear()
    load(f"{tmp_path}/b.npz::x::7", 8)
    assert unpacked == [64]  # of an array that is stored as it is, one item's bytes


# --- DICOM

HU = np.arange(-1400, 1160, 40, dtype=np.int16).reshape(8, 8)


def test_a_window_in_the_path_is_in_hounsfield_units(tmp_path):
    path = dicom(tmp_path / "a", HU + 1024, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)
    pixels = load(f"{path}?window=-600,1500", 8).pixels[:, :, 0].astype(int)
    assert set(pixels[HU <= -1350]) == {0} and set(pixels[HU >= 150]) == {65535}
    inside = (HU > -1350) & (HU < 150)
    np.testing.assert_allclose(pixels[inside] / 65535, (HU[inside] + 1350) / 1500, atol=1e-5)
    # Without one, the file's own: DICOM's linear function is 0 to 1 over width - 1, around center - 0.5.
    own = load(path, 8).pixels[:, :, 0] / 65535
    np.testing.assert_allclose(own, np.clip((HU - 39.5) / 399 + 0.5, 0, 1), atol=1e-5)
    assert load(path, 8).sha256 == hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_without_window_or_table_the_files_bits_are_0_to_1(tmp_path, syntax):
    eight = dicom(tmp_path / "a.dcm", GRAY, syntax)
    np.testing.assert_array_equal(load(eight, 8).pixels[:, :, 0], GRAY, strict=True)
    white = dicom(tmp_path / "b.dcm", GRAY, syntax, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(load(white, 8).pixels[:, :, 0], 255 - GRAY, strict=True)
    twelve = dicom(tmp_path / "c.dcm", DEEP // 16, syntax, BitsStored=12, HighBit=11)
    np.testing.assert_allclose(load(twelve, 8).pixels[:, :, 0], (DEEP // 16) / 4095 * 65535, atol=0.51)
    signed = dicom(
        tmp_path / "d.dcm", np.array([[-32768, 32767]] * 2, np.int16), syntax, RescaleSlope=-2, RescaleIntercept=5
    )
    assert load(signed, 2).pixels[0, :, 0].tolist() == [65535, 0]


def test_other_functions_and_tables_of_the_file(tmp_path):
    exact = dicom(tmp_path / "a.dcm", HU, WindowCenter=[0, 9], WindowWidth=[1000, 9], VOILUTFunction="LINEAR_EXACT")
    np.testing.assert_allclose(load(exact, 8).pixels[:, :, 0] / 65535, np.clip(HU / 1000 + 0.5, 0, 1), atol=1e-5)
    sigmoid = dicom(tmp_path / "b.dcm", HU, WindowCenter=0, WindowWidth=1000, VOILUTFunction="SIGMOID")
    np.testing.assert_allclose(load(sigmoid, 8).pixels[:, :, 0] / 65535, 1 / (1 + np.exp(-HU / 250)), atol=1e-5)
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 8], np.arange(255, -1, -1, dtype="<u2").tobytes()
    looked_up = dicom(tmp_path / "c.dcm", GRAY, VOILUTSequence=[table])
    np.testing.assert_array_equal(load(looked_up, 8).pixels[:, :, 0], 255 - GRAY)


def test_color_dicom_is_rgb_and_has_no_window(tmp_path):
    rgb = np.stack([GRAY, GRAY[::-1], GRAY.T], axis=-1)
    path = dicom(tmp_path / "a.dcm", rgb)
    np.testing.assert_array_equal(load(path, 8).pixels, rgb, strict=True)
    assert "of gray images" in problem(f"{path}?window=0,100")


def test_what_can_be_wrong_with_dicom_is_said_without_the_patients_name(tmp_path, monkeypatch):
    good = dicom(tmp_path / "good.dcm", HU)
    said = [
        problem(dicom(tmp_path / "a.dcm", HU, NumberOfFrames=2)),
        problem(dicom(tmp_path / "b.dcm", HU, PhotometricInterpretation="PALETTE COLOR")),
        problem(dicom(tmp_path / "c.dcm", HU, JPEGLosslessSV1)),
        problem(dicom(tmp_path / "d.dcm", HU, Rows=9)),
    ]
    for text, expected in zip(
        said, ["2 frames", "PALETTE COLOR", "pip install 'pylibjpeg[libjpeg]'", "cannot be"], strict=True
    ):
        assert expected in text and "Curie" not in text
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    assert "a window is of DICOM files" in problem(f"{tmp_path}/a.png?window=0,1")
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pydicom"):
            raise ModuleNotFoundError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert problem(good) == "a DICOM file needs the package pydicom (pip install pydicom)"
