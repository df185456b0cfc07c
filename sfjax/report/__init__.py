"""The report of a run: tables made of outputs, and the page that shows them."""

from sfjax.report.attributes import slice_attributes
from sfjax.report.diagnosis import diagnose
from sfjax.report.page import TaskReport, write_report
from sfjax.report.slices import failure_slices
from sfjax.report.strips import Strips, corrupted_images, strips_table
from sfjax.report.tables import Points, cluster_images, curves_table, pair_points, points_table

__all__ = [
    "Points",
    "Strips",
    "TaskReport",
    "cluster_images",
    "corrupted_images",
    "curves_table",
    "diagnose",
    "failure_slices",
    "pair_points",
    "points_table",
    "slice_attributes",
    "strips_table",
    "write_report",
]
