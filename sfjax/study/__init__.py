"""The benchmark: its configuration, its units of work and its tables."""

from sfjax.study.config import PRESETS, Config, ManifestConfig, Preset
from sfjax.study.run import Task, collect, load_tasks, run
from sfjax.study.storage import open_folder
from sfjax.study.tasks import TestSet, task_names

__all__ = [
    "PRESETS",
    "Config",
    "ManifestConfig",
    "Preset",
    "Task",
    "TestSet",
    "collect",
    "load_tasks",
    "open_folder",
    "run",
    "task_names",
]
