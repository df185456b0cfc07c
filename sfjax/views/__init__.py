"""Views of failure detection: pure functions from a table to an `altair.Chart`, and one offline page that links them.

A view reads no file, keeps no state and knows no classifier; what it needs is in its table (`sfjax.views.tables`), and
its colors are in `sfjax.views.palette`. Parameters that a page may set are named `sf_*`.
"""

from sfjax.views.clusters import concept_clusters, representatives_table
from sfjax.views.compose import latent_dashboard
from sfjax.views.corruption import corruption_strip
from sfjax.views.curves import risk_coverage
from sfjax.views.export import save
from sfjax.views.gallery import failure_gallery, failure_table
from sfjax.views.latent import latent_3d
from sfjax.views.latent_2d import latent_2d
from sfjax.views.page import TaskPage, page
from sfjax.views.ranks import rank_plot
from sfjax.views.response import shift_response
from sfjax.views.slices import failure_slices
from sfjax.views.thumbnails import thumbnails

__all__ = [
    "TaskPage",
    "concept_clusters",
    "corruption_strip",
    "failure_gallery",
    "failure_slices",
    "failure_table",
    "latent_2d",
    "latent_3d",
    "latent_dashboard",
    "page",
    "rank_plot",
    "representatives_table",
    "risk_coverage",
    "save",
    "shift_response",
    "thumbnails",
]
