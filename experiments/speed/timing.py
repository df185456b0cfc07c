"""Sides that take turns, and what they took as a Markdown table."""

import statistics
import time
from collections.abc import Callable, Mapping

import jax

Sides = Mapping[str, Callable[[], object]]
"""What is compared: by name, a call that returns once its work is done, or a JAX array of it."""


def interleaved(
    sides: Sides, repeats: int, *, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Returns the seconds of each side, in turns, after one call of each that does not count.

    Args:
        sides: What is compared.
        repeats: Calls of each that count.
        clock: In seconds; `time.process_time` leaves out what other work on the machine takes.
    """
    for side in sides.values():
        jax.block_until_ready(side())
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            begun = clock()
            jax.block_until_ready(side())
            seconds[name].append(clock() - begun)
    return seconds


def table(
    title: str,
    measured: Mapping[str, list[float]],
    *,
    unit: str = "ms",
    ratios: bool = True,
    columns: Mapping[str, Callable[[str, float], str]] | None = None,
) -> str:
    """Returns the measurements as Markdown: median, least and most, and how many times the first side's they are.

    Args:
        title: Of the table.
        measured: Seconds, by side.
        unit: `ms` or `s`.
        ratios: Whether to give the ratios, of the medians and of the least, which other work disturbs less. Above 1 a
            side is slower than the first.
        columns: Further ones, from the side and its median in seconds.
    """
    factor = {"ms": 1e3, "s": 1.0}[unit]
    first = next(iter(measured.values()))
    head = ["side", f"median, {unit}", "least to most", *["ratio", "of least"] * ratios, *(columns or {})]
    rows = []
    for name, seconds in measured.items():
        middle = statistics.median(seconds)
        spread = f"{factor * min(seconds):.3g} to {factor * max(seconds):.3g}"
        both = [f"{middle / statistics.median(first):.2f}", f"{min(seconds) / min(first):.2f}"]
        further = [column(name, middle) for column in (columns or {}).values()]
        rows.append([name, f"{factor * middle:.3g}", spread, *both * ratios, *further])
    return markdown(title, head, rows)


def markdown(title: str, head: list[str], rows: list[list[str]]) -> str:
    """Returns a Markdown table under its title."""
    lines = [f"\n### {title}\n", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
