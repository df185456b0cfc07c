"""The report of a run: tables made of outputs, and the page that shows them."""

from sfjax.report.page import TaskReport, write_report
from sfjax.report.slices import failure_slices, slice_attributes
from sfjax.report.strips import Strips, corrupted_images, strips_table
from sfjax.report.tables import Points, curves_table, points_table

__all__ = [
    "Points",
    "Strips",
    "TaskReport",
    "corrupted_images",
    "curves_table",
    "failure_slices",
    "points_table",
    "slice_attributes",
    "strips_table",
    "write_report",
]
