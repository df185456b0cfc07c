"""The report of a run: tables made of outputs, and the page that shows them."""

from sfjax.report.diagnosis import diagnose
from sfjax.report.page import TaskReport, write_report
from sfjax.report.tables import Points, cluster_images, curves_table, pair_points, points_table

__all__ = [
    "Points",
    "TaskReport",
    "cluster_images",
    "curves_table",
    "diagnose",
    "pair_points",
    "points_table",
    "write_report",
]
