"""The report: how long embeddings take, and how its page builds, opens and redraws. About ten minutes on two cores."""

from dataclasses import dataclass, field
from typing import Literal

from experiments.speed import embedding as of_embedding
from experiments.speed import page as of_page


@dataclass(frozen=True)
class Options:
    """What is measured of the report.

    Attributes:
        parts: Which tables.
        embedding: How embeddings are measured.
        page: How the page is measured.
    """

    parts: tuple[Literal["embedding", "page"], ...] = ("embedding", "page")
    embedding: of_embedding.Options = field(default_factory=of_embedding.Options)
    page: of_page.Options = field(default_factory=of_page.Options)


def measure(options: Options) -> None:
    """Prints the tables."""
    if "embedding" in options.parts:
        of_embedding.measure(options.embedding)
    if "page" in options.parts:
        of_page.measure(options.page)
