"""The report of a run: tables made of outputs, and the page that shows them."""

from sfjax.report.attributes import slice_attributes
from sfjax.report.bins import ScoreTables, operating_table, score_tables
from sfjax.report.build import describe, in_percent, only_csfs
from sfjax.report.diagnosis import diagnose
from sfjax.report.keeping import Keep, keep_in
from sfjax.report.page import TaskReport, write_report
from sfjax.report.scoring import Scored, score
from sfjax.report.slices import failure_slices
from sfjax.report.strips import Strips, corrupted_images, strip_pictures, strips_table
from sfjax.report.tables import Points, cluster_images, curves_table, points_table

__all__ = [
    "Keep",
    "Points",
    "ScoreTables",
    "Scored",
    "Strips",
    "TaskReport",
    "cluster_images",
    "corrupted_images",
    "curves_table",
    "describe",
    "diagnose",
    "failure_slices",
    "in_percent",
    "keep_in",
    "only_csfs",
    "operating_table",
    "points_table",
    "score",
    "score_tables",
    "slice_attributes",
    "strip_pictures",
    "strips_table",
    "write_report",
]
