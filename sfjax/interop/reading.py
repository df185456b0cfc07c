"""One way to read every folder that is recognized."""

from pathlib import Path

from sfjax.interop.experiment import Experiment
from sfjax.interop.fd_shifts import read_fd_shifts
from sfjax.interop.named_arrays import read_arrays
from sfjax.interop.recognize import recognize
from sfjax.interop.runs import read_run


def read(path: str | Path, *, data: str | Path | None = None, task: str | None = None) -> Experiment:
    """Returns the experiment in a folder of any kind that `recognize` knows.

    Args:
        path: The folder.
        data: Where images lie, if not below it.
        task: Of a run with several, which one.

    Raises:
        ValueError: The folder is of no known kind, or has faults; all of them are listed.
    """
    folder, images = Path(path), None if data is None else Path(data)
    if images is not None and not images.is_dir():
        raise ValueError(f"{images} is no folder, and images are looked for below it. Correct data (--data).")
    kind = recognize(folder)
    if kind == "run":
        return read_run(folder, task=task)
    if task is not None:
        raise ValueError(f"{folder} is one experiment; only runs of the benchmark have tasks. Leave out {task}.")
    return (read_fd_shifts if kind == "fd_shifts" else read_arrays)(folder, data=images)
