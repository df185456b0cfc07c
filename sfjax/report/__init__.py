"""The report of a run: tables made of outputs, and the page that shows them."""

from sfjax.report.page import TaskReport, write_report
<<<<<<< HEAD
from sfjax.report.strips import Strips, corrupted_images, strips_table
=======
from sfjax.report.slices import failure_slices, slice_attributes
>>>>>>> slices
from sfjax.report.tables import Points, curves_table, points_table

__all__ = [
    "Points",
<<<<<<< HEAD
    "Strips",
    "TaskReport",
    "corrupted_images",
    "curves_table",
    "points_table",
    "strips_table",
=======
    "TaskReport",
    "curves_table",
    "failure_slices",
    "points_table",
    "slice_attributes",
>>>>>>> slices
    "write_report",
]
