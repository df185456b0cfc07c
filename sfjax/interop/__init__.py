"""Outputs of other programs, as values of one type that the benchmark's scores and the report read.

A folder is recognized by what lies in it (`read`); arrays in memory need none (`from_arrays`). Nothing is unpickled,
YAML is read by a loader that makes plain values only, and images outside the folders that were named are not opened.
"""

from sfjax.interop.experiment import Experiment, from_arrays
from sfjax.interop.reading import read
from sfjax.interop.recognize import recognize

__all__ = ["Experiment", "from_arrays", "read", "recognize"]
