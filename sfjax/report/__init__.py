"""The report of a run: tables made of outputs, and the page that shows them."""

from sfjax.report.bins import ScoreTables, operating_table, score_tables
from sfjax.report.page import TaskReport, write_report
from sfjax.report.tables import Points, curves_table, points_table

__all__ = [
    "Points",
    "ScoreTables",
    "TaskReport",
    "curves_table",
    "operating_table",
    "points_table",
    "score_tables",
    "write_report",
]
