"""Images in: from a manifest of files, or from arrays, to a checked data set with its splits and shifted test sets."""

from sfjax.data.array_files import is_array_file, load_array_file
from sfjax.data.arrays import sha256_of_array
from sfjax.data.dataset import UNKNOWN, Dataset, dataset_from_arrays, load_dataset
from sfjax.data.files import ImageFiles
from sfjax.data.findings import Fault, Findings, ManifestError
from sfjax.data.images import DecodedImages, Images, decode_images, image_ids
from sfjax.data.manifest import STANDARD_COLUMNS, read_manifest, read_table
from sfjax.data.splits import SHIFT_KINDS, SOURCE_SPLITS, assign_splits, patient_groups, shift_kind
from sfjax.data.tfds_builder import ManifestRows, ManifestSource, read_rows, tfds_builder
from sfjax.data.tfds_sets import load_tfds

__all__ = [
    "SHIFT_KINDS",
    "SOURCE_SPLITS",
    "STANDARD_COLUMNS",
    "UNKNOWN",
    "Dataset",
    "DecodedImages",
    "Fault",
    "Findings",
    "ImageFiles",
    "Images",
    "ManifestError",
    "ManifestRows",
    "ManifestSource",
    "assign_splits",
    "dataset_from_arrays",
    "decode_images",
    "image_ids",
    "is_array_file",
    "load_array_file",
    "load_dataset",
    "load_tfds",
    "patient_groups",
    "read_manifest",
    "read_rows",
    "read_table",
    "sha256_of_array",
    "shift_kind",
    "tfds_builder",
]
