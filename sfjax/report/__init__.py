"""The report of a run: tables made of outputs, and the page that shows them."""

from sfjax.report.page import TaskReport, write_report
from sfjax.report.tables import Points, curves_table, points_table

__all__ = ["Points", "TaskReport", "curves_table", "points_table", "write_report"]
