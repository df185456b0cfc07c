"""The benchmark: its configuration, its units of work and its tables."""

from sfjax.study.config import Config, ManifestConfig, check, entries_of
from sfjax.study.config import from_json as config_from_json
from sfjax.study.evidence import baseline
from sfjax.study.networks import Task
from sfjax.study.presets import PRESETS, Preset
from sfjax.study.run import TABLES, collect, collect_resamples, load_tasks, num_resamples, run, scorers_of
from sfjax.study.storage import open_folder
from sfjax.study.tasks import TestSet, task_names
from sfjax.study.training_sets import TRAINING_SETS

__all__ = [
    "PRESETS",
    "TABLES",
    "TRAINING_SETS",
    "Config",
    "ManifestConfig",
    "Preset",
    "Task",
    "TestSet",
    "baseline",
    "check",
    "collect",
    "collect_resamples",
    "config_from_json",
    "entries_of",
    "load_tasks",
    "num_resamples",
    "open_folder",
    "run",
    "scorers_of",
    "task_names",
]
