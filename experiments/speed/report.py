"""The report: how long embeddings take. About ten minutes on two CPU cores."""

from dataclasses import dataclass, field
from typing import Literal

from experiments.speed import embedding as of_embedding


@dataclass(frozen=True)
class Options:
    """What is measured of the report.

    Attributes:
        parts: Which tables.
        embedding: How embeddings are measured.
    """

    parts: tuple[Literal["embedding"], ...] = ("embedding",)
    embedding: of_embedding.Options = field(default_factory=of_embedding.Options)


def measure(options: Options) -> None:
    """Prints the tables."""
    if "embedding" in options.parts:
        of_embedding.measure(options.embedding)
