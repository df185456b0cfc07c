"""The configuration of an FD-Shifts experiment: which sets were tested, in which order, and what the network learned.

Of its first release the file is a tree with interpolations such as `${data.dataset}`, of the present one the tree is
below the key `config`, and sets may be whole configurations instead of names.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from sfjax.data.selection import file_safe
from sfjax.interop.faults import Faults

STUDIES: Final = ("iid_study", "noise_study", "in_class_study", "new_class_study")
"""Of `eval.query_studies`, in the order in which their sets are numbered."""
_CORRUPTED: Final = re.compile(
    r"corr(?P<shift>(?P<kind>br|motblr|gaunoi|elastic)(?P<way>low|high)|letter)(?P<again>low|high)?$"
)
_KINDS: Final = (
    (re.compile(r"(subsmall|_ood)$"), "manifestation"),
    (re.compile(r"(barcelona|mskcc|queensland|vienna|pascal|ph2|d7p)$"), "acquisition"),
    (re.compile(r"(chexpert|nih14|mimic|small_set\d|_hepg2|_huvec|_u2os|_rpe)$"), "acquisition"),
)
"""What differs in the medical study's sets, by the ends of their names."""


class StudySet(NamedTuple):
    """A set of images that was tested.

    Attributes:
        name: As the tables call it: `val`, `iid_test`, or the study's name.
        study: Of `STUDIES`, or `val`.
        kind: iid, corruption, acquisition, manifestation or named.
        shift: Of a corruption, the one whose levels belong together.
        level: Of a corruption: 1, or 2 where the name says so twice.
    """

    name: str
    study: str
    kind: str
    shift: str = ""
    level: int = 0


class Settings(NamedTuple):
    """What of a configuration is needed.

    Attributes:
        sets: In the order of their numbers in the outputs.
        confidence: `eval.ext_confid_name`, "" where there is none.
        num_classes: Where it is stated.
    """

    sets: tuple[StudySet, ...]
    confidence: str
    num_classes: int | None


def read_settings(file: Path, faults: Faults) -> Settings | None:
    """Returns the settings of a `hydra/config.yaml`; None after faults."""
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        faults.add(file, "the configuration of the experiment", "no file")
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        words = " ".join(str(error).split())
        faults.add(file, "YAML of plain values", words, "Tags that make objects are not followed.")
        return None
    if isinstance(tree, dict) and isinstance(tree.get("config"), dict):
        tree = tree["config"]
    evaluation = tree.get("eval") if isinstance(tree, dict) else None
    studies = evaluation.get("query_studies") if isinstance(evaluation, dict) else None
    if not isinstance(studies, dict):
        faults.add(file, "the mapping eval.query_studies", "none")
        return None
    try:
        return _settings(_Tree(tree), studies)
    except _Unreadable as error:
        faults.say(file, str(error))
        return None


def _settings(tree: "_Tree", studies: Mapping[str, Any]) -> Settings:
    if unknown := sorted(set(map(str, studies)) - set(STUDIES)):
        raise _Unreadable(f"eval.query_studies: expected {', '.join(STUDIES)}, found {', '.join(unknown)} too.")
    dataset = str(tree.value("data.dataset") or "")
    sets = [StudySet("val", "val", "iid")] if tree.value("eval.val_tuning") else []
    for study in STUDIES:
        for name in _names(tree, studies.get(study), f"eval.query_studies.{study}"):
            one = StudySet("iid_test", study, "iid") if study == "iid_study" else _shifted(name, study, dataset)
            taken, names = {other.name for other in sets}, (f"{one.name}_{i}" for i in range(2, len(sets) + 3))
            sets.append(one._replace(name=next(free for free in (one.name, *names) if free not in taken)))
    if not any(one.study != "val" for one in sets):
        raise _Unreadable("eval.query_studies: expected a set that was tested, found none.")
    classes = tree.value("data.num_classes")
    confidence = str(tree.value("eval.ext_confid_name") or "")
    return Settings(tuple(sets), confidence, None if classes is None else int(classes))


def _names(tree: "_Tree", value: Any, where: str) -> Iterator[str]:
    """Yields the names of sets: of one, of a list, or of whole configurations of data."""
    value = tree.resolved(value)
    if value is None or value == "":
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict) and isinstance(name := tree.resolved(value.get("dataset")), str):
        yield name
    elif isinstance(value, list):
        for item in value:
            yield from _names(tree, item, where)
    else:
        raise _Unreadable(f"{where}: expected names of sets or configurations with dataset, found {str(value)[:80]}.")


def _shifted(name: str, study: str, dataset: str) -> StudySet:
    # Only a whole beginning is taken off, and only where something is left.
    short = name.removeprefix(dataset).strip("_-") if dataset else name
    plain = file_safe(short or name)
    if match := _CORRUPTED.search(name):
        shift = f"corr{match['shift']}"
        return StudySet(plain, study, "corruption", shift, 2 if match["again"] else 1)
    if study == "noise_study":
        return StudySet(plain, study, "corruption", plain, 1)
    if study == "new_class_study":
        return StudySet(plain, study, "manifestation")
    kind = next((kind for pattern, kind in _KINDS if pattern.search(name)), "named")
    return StudySet(plain, study, kind)


class _Tree:
    """A tree of settings whose text may point to other places in it."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.tree = tree

    def value(self, path: str, depth: int = 0) -> Any:
        """Returns what stands at `a.b.c`, None where nothing does."""
        here: Any = self.tree
        for name in path.split("."):
            here = here.get(name) if isinstance(here, dict) else None
        return self.resolved(here, depth)

    def resolved(self, value: Any, depth: int = 0) -> Any:
        """Returns the value that `${a.b.c}` stands for, and any other as it is."""
        match = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
        if match is None:
            return value
        if depth > 8 or (found := self.value(match[1], depth + 1)) is None:
            raise _Unreadable(f"{value}: expected a value at {match[1]}, found none.")
        return found


class _Unreadable(Exception):
    """Why settings cannot be read."""
