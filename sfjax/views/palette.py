"""All colors. Blue is correct and source, orange is failure and target, in both themes; a second cue goes with each.

The ramps run from low to high confidence away from the background, so that what is most confident stands out most. Blue
against orange stays apart under deuteranopia, protanopia and tritanopia; green against red does not.
"""

import json
from collections.abc import Callable
from typing import Final, NamedTuple


class Palette(NamedTuple):
    """The colors of one theme.

    Attributes:
        background: Of the page and of charts.
        surface: Of cards and controls.
        ink: Text.
        muted: Secondary text.
        line: Rules, grids and borders.
        accent: Focus and marking.
        correct: Ramp of correct predictions, from low to high confidence.
        failure: Ramp of failures, from low to high confidence.
        source: Images like the training set's.
        target: Shifted images.
        confusion: Of the class and found, of it and missed, called it wrongly, neither.
        curves: One a line, in the order of the lines.
    """

    background: str
    surface: str
    ink: str
    muted: str
    line: str
    accent: str
    correct: tuple[str, ...]
    failure: tuple[str, ...]
    source: str
    target: str
    confusion: tuple[str, str, str, str]
    curves: tuple[str, ...]


# fmt: off
LIGHT: Final = Palette(
    background="#ffffff", surface="#f5f7f9", ink="#18222d", muted="#55626f", line="#d5dce3", accent="#111820",
    correct=("#abcfe5", "#8fbddd", "#72abd4", "#5799ca", "#4089c0", "#2f7bb7", "#226eb0", "#1a66ab", "#145fa7"),
    failure=("#fdc38d", "#fab173", "#f69f5a", "#ef8b43", "#e5772e", "#da651d", "#cf5511", "#c64809", "#c03a02"),
    source="#0072b2", target="#e69f00",
    confusion=("#0072b2", "#d55e00", "#e69f00", "#56b4e9"),
    curves=("#0072b2", "#d55e00", "#007d5a", "#a8487f", "#3a3f47", "#8a6d00", "#5b4bb3", "#008a9a"),
)
DARK: Final = Palette(
    background="#11161c", surface="#1a2129", ink="#e8edf2", muted="#a3afbb", line="#35404c", accent="#ffffff",
    correct=("#1d3b5c", "#2d4d6f", "#3d6082", "#4d7396", "#5f87aa", "#709cbf", "#82b1d4", "#95c6e9", "#a8dcff"),
    failure=("#6b3a10", "#7c4917", "#8e591e", "#a06926", "#b37a2d", "#c58b35", "#d89c3d", "#ebae45", "#ffc04d"),
    source="#4aa8e0", target="#ffb52e",
    confusion=("#56b4e9", "#ff7d33", "#ffc83d", "#66809a"),
    curves=("#56b4e9", "#ff8a4c", "#3ecf9b", "#e58fc0", "#d3d9e0", "#e3c04a", "#a99bf5", "#4fd6e3"),
)
# fmt: on
DASHES: Final = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3))
"""Dashes of lines, the cue besides their color."""


def themed(color: Callable[[Palette], str | tuple[str, ...]]) -> str:
    """Returns a Vega expression of one color, or of an array of them, that follows the parameter `sf_dark`.

    Args:
        color: What is taken from a theme.

    Example:
        >>> themed(lambda palette: palette.source)
        '(sf_dark ? "#4aa8e0" : "#0072b2")'
    """
    return f"(sf_dark ? {json.dumps(color(DARK))} : {json.dumps(color(LIGHT))})"


def css() -> str:
    """Returns the colors as CSS custom properties, the dark ones for `data-theme="dark"`."""
    blocks = []
    for selector, palette in ((":root", LIGHT), (':root[data-theme="dark"]', DARK)):
        plain = {name: value for name, value in palette._asdict().items() if isinstance(value, str)}
        plain["correct"], plain["failure"] = palette.correct[-1], palette.failure[-1]
        plain |= {f"curve-{i}": color for i, color in enumerate(palette.curves)}
        properties = "".join(f" --{name}: {value};" for name, value in plain.items())
        scheme = "dark" if palette is DARK else "light"
        blocks.append(f"{selector} {{ color-scheme: {scheme};{properties} }}")
    return "\n".join(blocks)
