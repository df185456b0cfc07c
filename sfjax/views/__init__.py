"""Views of failure detection: pure functions from a table to an `altair.Chart`, and one offline page that links them.

A view reads no file, keeps no state and knows no classifier; what it needs is in its table (`sfjax.views.tables`), and
its colors are in `sfjax.views.palette`. Parameters that a page may set are named `sf_*`.
"""

from sfjax.views.calibration import confidence_histogram, reliability
from sfjax.views.causes import cause_table
from sfjax.views.confusion import confusion
from sfjax.views.curves import risk_coverage
from sfjax.views.export import save
from sfjax.views.latent import latent_3d
from sfjax.views.operating import operating_point
from sfjax.views.page import TaskPage, page
from sfjax.views.ranks import rank_plot
from sfjax.views.response import shift_response
from sfjax.views.results_table import aurc_table
from sfjax.views.thumbnails import thumbnails

__all__ = [
    "TaskPage",
    "aurc_table",
    "cause_table",
    "confidence_histogram",
    "confusion",
    "latent_3d",
    "operating_point",
    "page",
    "rank_plot",
    "reliability",
    "risk_coverage",
    "save",
    "shift_response",
    "thumbnails",
]
