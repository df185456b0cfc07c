"""The look that all charts share: fonts, grids and backgrounds, live in light and dark."""

from collections.abc import Sequence
from typing import Any, Final

import altair as alt

from sfjax.views.palette import themed

FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def dark_param(*, linked: bool) -> alt.Parameter:
    """Returns the parameter that the colors of a chart follow.

    Args:
        linked: A page sets it; else it comes with a check box.
    """
    return setting("sf_dark", False, alt.binding_checkbox(name="Dark "), linked=linked)


def setting(name: str, value: Any, bind: alt.Binding, *, linked: bool) -> alt.Parameter:
    """Returns a parameter.

    Args:
        name: Of it.
        value: At first.
        bind: Its input.
        linked: A page sets it; else it comes with the input.
    """
    if linked:
        return alt.param(name=name, value=value)
    return alt.param(name=name, value=value, bind=bind)


def choice(name: str, options: Sequence[str], label: str, *, linked: bool) -> alt.Parameter:
    """Returns the parameter of one of several, at first the first one.

    Args:
        name: Of the parameter.
        options: What may be chosen.
        label: Before the list.
        linked: A page sets it; else it comes with a list.
    """
    return setting(name, options[0], alt.binding_select(options=list(options), name=f"{label} "), linked=linked)


def resized() -> alt.AutoSizeParams:
    """Returns how a chart whose rows, panels or labels come and go keeps room for them."""
    return alt.AutoSizeParams(type="pad", resize=True)


def config() -> dict[str, Any]:
    """Returns the configuration of a chart that has the parameter `sf_dark`."""
    ink, muted, line = ({"expr": themed(color)} for color in (lambda p: p.ink, lambda p: p.muted, lambda p: p.line))
    return {
        "background": {"expr": themed(lambda p: p.background)},
        "font": FONT,
        "view": {"stroke": None},
        "title": {"color": ink, "subtitleColor": muted, "fontSize": 15, "anchor": "start", "fontWeight": 600},
        "axis": {
            "labelColor": muted,
            "titleColor": ink,
            "gridColor": line,
            "domainColor": line,
            "tickColor": line,
            "labelFontSize": 11,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
        },
        "legend": {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12},
        "header": {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "labelFontWeight": 600},
    }
