"""Miniature downloads in the layout that providers ship, with the faults that real ones have."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openpyxl
from PIL import Image

HAM_HEADER = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"
ISIC_HEADER = (
    "isic_id,attribution,copyright_license,age_approx,anatom_site_general,benign_malignant,diagnosis,"
    "diagnosis_confirm_type,image_type,lesion_id,melanocytic,patient_id,sex"
)
KAGGLE_HEADER = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
DERM7PT_HEADER = (
    "case_num,diagnosis,seven_point_score,pigment_network,streaks,pigmentation,regression_structures,dots_and_globules,"
    "blue_whitish_veil,vascular_structures,level_of_diagnostic_difficulty,elevation,location,sex,management,clinic,"
    "derm,case_id,notes"
)
CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
MIMIC_HEADER = (
    "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,"
    "Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)
MIMIC_METADATA_HEADER = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)
NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
BARCELONA = "Department of Dermatology, Hospital Clínic de Barcelona"
QUEENSLAND = (
    "The University of Queensland Diamantina Institute, The University of Queensland, Dermatology Research Centre"
)


def image(path: Path, content: int, *, gray: bool = False) -> Path:
    """Writes a picture; equal contents make files that are equal byte for byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(content).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels[:, :, 0] if gray else pixels).save(path)
    return path


def truncate(path: Path) -> None:
    """Cuts a file in half."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def table(path: Path, header: str, rows: Sequence[str], *, windows: bool = False, compress: bool = False) -> Path:
    """Writes a CSV, on demand as Windows' programs do, with a byte-order mark, or with gzip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    end = "\r\n" if windows else "\n"
    data = (("\ufeff" if windows else "") + end.join([header, *rows, ""])).encode()
    path.write_bytes(gzip.compress(data) if compress else data)
    return path


def record(header: str, **values: object) -> str:
    """Returns a row with the values in their columns and nothing in the others."""
    names = header.split(",")
    keys = {name.replace(" ", "_").replace("/", "_"): name for name in names}
    by_name = {keys[key]: str(value) for key, value in values.items()}
    return ",".join(f'"{by_name[name]}"' if "," in by_name.get(name, "") else by_name.get(name, "") for name in names)


def ham10000(raw: Path, rows: Sequence[tuple[str, str, str, str]], *, windows: bool = False) -> None:
    """Writes HAM10000: (lesion, image, dx, sub-source); the first half of the images is in part 1."""
    written = [f"{lesion},{name},{dx},histo,80.0,male,scalp,{source}" for lesion, name, dx, source in rows]
    table(raw / "ham10000/HAM10000_metadata.csv", HAM_HEADER, written, windows=windows)
    for i, (_, name, _, _) in enumerate(rows):
        part = 1 if i < len(rows) / 2 else 2
        image(raw / f"ham10000/HAM10000_images_part_{part}/{name}.jpg", _number(name))


def isic_2020(raw: Path, rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Writes ISIC 2020: (image, patient, benign_malignant, attribution)."""
    written = [
        record(ISIC_HEADER, isic_id=name, patient_id=patient, benign_malignant=label, attribution=attribution)
        for name, patient, label, attribution in rows
    ]
    table(raw / "isic_2020/challenge-2020-training_metadata_2022-06-29.csv", ISIC_HEADER, written)
    for name, *_ in rows:
        image(raw / f"isic_2020/train/{name}.jpg", _number(name))


def derm7pt(raw: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    """Writes Derm7pt: (case, diagnosis, file)."""
    written = [record(DERM7PT_HEADER, case_num=case, diagnosis=dx, derm=name) for case, dx, name in rows]
    table(raw / "d7p/meta/meta.csv", DERM7PT_HEADER, written)
    for case, _, name in rows:
        image(raw / f"d7p/images/{name}", 7_000 + int(case))


def ph2(raw: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Writes PH2: (image, marked column), below a legend of 12 rows."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for i in range(12):
        sheet.append([f"legend {i}"])
    sheet.append(
        ["Image Name", "Histological Diagnosis", "Common Nevus", "Atypical Nevus", "Melanoma", "Asymmetry\n(0/1/2)"]
    )
    for name, kind in rows:
        sheet.append([name, None, *("X" if kind == one else None for one in ("common", "atypical", "melanoma")), 0])
        image(raw / f"ph2/PH2 Dataset images/{name}/{name}_Dermoscopic_Image/{name}.bmp", 9_000 + _number(name))
        image(raw / f"ph2/PH2 Dataset images/{name}/{name}_lesion/{name}_lesion.bmp", 9_500 + _number(name))
    (raw / "ph2").mkdir(parents=True, exist_ok=True)
    book.save(raw / "ph2/PH2_dataset.xlsx")


def chexpert(raw: Path, rows: Sequence[tuple[str, dict[str, object]]], *, folder: str = "CheXpert-v1.0-small") -> None:
    """Writes CheXpert: (path below train, labels); valid has one image of another patient."""
    prefix = raw / "chexpert" / folder
    written = [record(CHEXPERT_HEADER, Path=f"{folder}/train/{path}", Sex="Female", **labels) for path, labels in rows]
    table(prefix / "train.csv", CHEXPERT_HEADER, written)
    valid = "patient64541/study1/view1_frontal.jpg"
    labels = {"Frontal_Lateral": "Frontal", "AP_PA": "AP", "Cardiomegaly": "1.0", "No_Finding": "0.0"}
    table(prefix / "valid.csv", CHEXPERT_HEADER, [record(CHEXPERT_HEADER, Path=f"{folder}/valid/{valid}", **labels)])
    image(prefix / "valid" / valid, 100)
    for i, (path, _) in enumerate(rows):
        image(prefix / "train" / path, 101 + i)


def nih14(raw: Path, rows: Sequence[tuple[str, str, str]], *, folders: bool = True) -> None:
    """Writes ChestX-ray14: (image, labels, patient), in folders of the archives or in one folder."""
    written = [f"{name},{labels},0,{patient},057Y,M,PA,2682,2749,0.143,0.143," for name, labels, patient in rows]
    table(raw / "nih14/Data_Entry_2017.csv", NIH_HEADER, written)
    for i, (name, _, _) in enumerate(rows):
        folder = f"images_{i % 2 + 1:03d}/images" if folders else "images"
        image(raw / "nih14" / folder / name, 300 + i)


def mimic(raw: Path, rows: Sequence[tuple[str, str, str, dict[str, object]]], *, with_split: bool = True) -> None:
    """Writes MIMIC-CXR-JPG: (dicom, subject, study, labels), tables as PhysioNet compresses them."""
    root = raw / "mimic/files/mimic-cxr-jpg/2.0.0"
    labels = {(subject, study): one for _, subject, study, one in rows}
    written = [record(MIMIC_HEADER, subject_id=a, study_id=b, **one) for (a, b), one in labels.items()]
    table(root / "mimic-cxr-2.0.0-chexpert.csv.gz", MIMIC_HEADER, written, compress=True)
    metadata = [
        record(MIMIC_METADATA_HEADER, dicom_id=dicom, subject_id=subject, study_id=study, ViewPosition="LATERAL")
        for dicom, subject, study, _ in rows
    ]
    table(root / "mimic-cxr-2.0.0-metadata.csv.gz", MIMIC_METADATA_HEADER, metadata, compress=True)
    if with_split:
        split = [f"{dicom},{study},{subject},train" for dicom, subject, study, _ in rows]
        table(root / "mimic-cxr-2.0.0-split.csv.gz", "dicom_id,study_id,subject_id,split", split, compress=True)
    for i, (dicom, subject, study, _) in enumerate(rows):
        image(root / f"files/p{subject[:2]}/p{subject}/s{study}/{dicom}.jpg", 500 + i)


def camelyon17(raw: Path, rows: Sequence[tuple[str, int, int, int]]) -> None:
    """Writes CAMELYON17-WILDS: (patient, x, tumor, hospital)."""
    root = raw / "camelyon17_v1.0"
    written = [f"{i},{p},1,{x},64,{tumor},{h},{h},{i % 2}" for i, (p, x, tumor, h) in enumerate(rows)]
    table(root / "metadata.csv", ",patient,node,x_coord,y_coord,tumor,slide,center,split", written)
    for i, (p, x, _, _) in enumerate(rows):
        image(root / f"patches/patient_{p}_node_1/patch_patient_{p}_node_1_x_{x}_y_64.png", 700 + i)


def _number(name: str) -> int:
    return int("".join(filter(str.isdigit, name)))
