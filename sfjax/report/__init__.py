"""The report of a run: tables made of outputs, and the page that shows them."""

from sfjax.report.build import Scored, describe, only_csfs, score
from sfjax.report.page import TaskReport, write_report
from sfjax.report.tables import Points, curves_table, points_table

__all__ = [
    "Points",
    "Scored",
    "TaskReport",
    "curves_table",
    "describe",
    "only_csfs",
    "points_table",
    "score",
    "write_report",
]
