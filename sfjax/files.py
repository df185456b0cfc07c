"""Files that appear whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, writer: Callable[[Path], object]) -> None:
    """Has `writer` write a temporary file beside `path` and puts it in place in one step.

    A reader finds the old file or the new one, never half of it; where the writer fails, the old one stays.

    Args:
        path: In a folder that exists.
        writer: Called with the temporary file's path, whose suffix is that of `path`: some writers choose their format
            by it.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        writer(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
