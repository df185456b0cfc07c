"""DICOM files of one frame as pictures: gray through a window, or RGB. No tag that names a person is read.

Stored values become values of the modality (of CT: HU) by the file's rescaling or table. What of them becomes 0 to 1
is, in this order: the window that is asked for; the file's own table or first window; the range that the file's bits
can hold. Where the file says that low values are white (MONOCHROME1), the result is inverted.

References:
    DICOM PS3.3: Information Object Definitions, C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.6.3 (image pixel).
"""

import io
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from sfjax.data.pictures import Unsupported

_TAGS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "Modality"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)


def is_dicom(data: bytes) -> bool:
    """Returns whether a file's bytes are DICOM, by the mark behind its preamble of 128 bytes."""
    return data[128:132] == b"DICM"


def decode_dicom(data: bytes, window: tuple[float, float] | None) -> Shaped[np.ndarray, "h w k"]:
    """Returns the image of a DICOM file, uint8 where its values have up to 8 bit, else uint16.

    Args:
        data: The file's bytes.
        window: Center and width in the modality's units, of gray images only; None is the file's own.

    Raises:
        Unsupported: pydicom is not there, or the file has no single frame of gray or RGB that it can decode. The text
            holds nothing of the file but technical terms.
    """
    try:
        import pydicom
        from pydicom.pixels import utils
    except ModuleNotFoundError:
        raise Unsupported("a DICOM file needs the package pydicom (pip install pydicom)") from None
    try:
        header = pydicom.dcmread(io.BytesIO(data), specific_tags=list(_TAGS))
        _check(header)
        stored = utils.pixel_array(header)
        if header.SamplesPerPixel == 3:
            if stored.dtype != np.uint8:
                raise Unsupported(f"its color has {header.BitsStored} bit, and 8 are read; convert the file")
            if window is not None:
                raise Unsupported("a window is of gray images, and this one is in color")
            return stored
        shown = _shown(stored, header, window)
    except Unsupported:
        raise
    except Exception as error:  # of broken files pydicom raises anything, perhaps with values of the file in its text
        raise Unsupported(f"a DICOM file that cannot be decoded ({error.__class__.__name__})") from None
    if header.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    white, dtype = (255, np.uint8) if header.BitsStored <= 8 else (65535, np.uint16)
    return np.rint(shown * white).astype(dtype)[:, :, None]


def through_window(values: Float[np.ndarray, "*shape"], center: float, width: float) -> Float[np.ndarray, "*shape"]:
    """Returns what a window shows of values: 0 from center - width / 2 down, 1 from center + width / 2 up.

    Example:
        >>> through_window(np.array([-2000.0, -1350.0, -600.0, 150.0]), -600, 1500).tolist()
        [0.0, 0.0, 0.5, 1.0]
    """
    return np.clip((values - (center - width / 2)) / width, 0, 1)


def _check(header: Any) -> None:
    """Raises where a file has no frame that can be decoded, saying what helps."""
    from pydicom.pixels.decoders.base import get_decoder

    frames = int(header.get("NumberOfFrames") or 1)
    if "PixelData" not in header:
        raise Unsupported("a DICOM file without pixels")
    if frames > 1:
        raise Unsupported(f"{frames} frames in one DICOM file; store each in its own, or in an .npz file")
    kind = header.PhotometricInterpretation
    if kind not in ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"):
        raise Unsupported(f"its pixels are {kind}; gray (MONOCHROME1, MONOCHROME2) and RGB are read: convert the file")
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        try:
            available = get_decoder(syntax).is_available
        except NotImplementedError:
            raise Unsupported(f"its compression, {syntax.name}, is not one of pictures; convert the file") from None
        if not available:
            package = "pylibjpeg[openjpeg]" if "2000" in syntax.name else "pylibjpeg[libjpeg]"
            raise Unsupported(
                f"its compression, {syntax.name}, needs a package besides pydicom: pip install '{package}'"
            )


def _shown(
    stored: Shaped[np.ndarray, "h w"], header: Any, window: tuple[float, float] | None
) -> Float[np.ndarray, "h w"]:
    """Returns the values from 0, black, to 1."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi

    values = np.asarray(apply_modality_lut(stored, header), np.float64)
    if window is not None:
        return through_window(values, *window)
    if "VOILUTSequence" in header:
        bits = int(header.VOILUTSequence[0].LUTDescriptor[2])
        # Tables are indexed by integers, which the modality's values are where there is such a table.
        return np.clip(apply_voi(values.astype(np.int64), header) / (2**bits - 1), 0, 1)
    if "WindowCenter" in header and "WindowWidth" in header:
        center, width = (float(np.atleast_1d(value)[0]) for value in (header.WindowCenter, header.WindowWidth))
        function = header.get("VOILUTFunction") or "LINEAR"
        if function == "SIGMOID":
            return 1 / (1 + np.exp(-4 * (values - center) / width))
        # LINEAR speaks of the middles of values, LINEAR_EXACT of the values.
        return (
            through_window(values, center, width)
            if function == "LINEAR_EXACT"
            else (np.clip((values - (center - 0.5)) / max(width - 1, 1e-6) + 0.5, 0, 1))
        )
    if "ModalityLUTSequence" in header:
        low, high = 0.0, 2.0 ** int(header.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    else:
        bits, signed = int(header.BitsStored), int(header.PixelRepresentation)
        ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
        low, high = sorted(np.asarray(apply_modality_lut(ends, header), np.float64).tolist())
    return np.clip((values - low) / (high - low), 0, 1)
