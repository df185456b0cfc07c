"""Images as cards in a grid: a frame in the color of the outcome, a circle or a cross, and a caption below."""

from typing import Final, NamedTuple

import altair as alt

from sfjax.views.palette import themed

LINE: Final = 13
"""Pixels of a line of a caption."""


class Card(NamedTuple):
    """How one card is drawn; all but the sizes are expressions of its datum.

    Attributes:
        x: Pixels of its left edge.
        y: Pixels of its upper edge.
        right: Whether it is framed as right, not as a failure.
        caption: The lines below the image, an array.
        lines: How many those are.
        pixels: Of a side of the image.
        marked: Whether it is the chosen one.
    """

    x: str
    y: str
    right: str
    caption: str
    lines: int
    pixels: int
    marked: str = "false"

    @property
    def width(self) -> int:
        """Pixels from the left edge of a card to that of the next."""
        return self.pixels + 14

    @property
    def height(self) -> int:
        """Pixels from the upper edge of a card to that of the one below."""
        return self.pixels + LINE * self.lines + 16


def card_layers(base: alt.Chart, card: Card, name: str, *, tooltip: str | None = None) -> list[alt.Chart]:
    """Returns the layers of all cards; those of images that are not there say so.

    Args:
        base: A chart of data, a row a card, with the column `image`: a data URI, or empty.
        card: How each is drawn.
        name: Of the layer of frames, which reacts to clicks.
        tooltip: Expression of what hovering shows; None for nothing.
    """
    color = f"({card.right} ? {themed(lambda p: p.correct[-1])} : {themed(lambda p: p.failure[-1])})"
    pixels, middle = card.pixels, card.pixels / 2
    quiet = {"aria": False, "tooltip": None if tooltip is None else alt.expr(tooltip)}
    frames = base.mark_rect(
        fill=alt.expr(themed(lambda p: p.surface)),
        fillOpacity=1,
        stroke=alt.expr(f"{card.marked} ? {themed(lambda p: p.accent)} : {color}"),
        strokeWidth=alt.expr(f"{card.marked} ? 4 : 2"),
        cornerRadius=2,
        **quiet,
    ).encode(
        x=alt.XValue(alt.expr(card.x)),
        y=alt.YValue(alt.expr(card.y)),
        x2=alt.X2Value(alt.expr(f"{card.x} + {pixels}")),
        y2=alt.Y2Value(alt.expr(f"{card.y} + {pixels}")),
    )
    at = {"x": alt.XValue(alt.expr(f"{card.x} + {middle}")), "y": alt.YValue(alt.expr(f"{card.y} + {middle}"))}
    pictures = (
        base.transform_filter("datum.image")
        .mark_image(width=pixels - 4, height=pixels - 4, align="center", baseline="middle", **quiet)
        .encode(url="image:N", **at)
    )
    blanks = (
        base.transform_filter("!datum.image")
        .mark_text(text="no image", fontSize=10, fill=alt.expr(themed(lambda p: p.muted)), **quiet)
        .encode(**at)
    )
    corner = f"{card.x} + {pixels - 9}", f"{card.y} + 9"
    # On a disk in the color of the page, to be seen on any image.
    signs = [
        base.mark_point(filled=True, opacity=1, shape=shape, size=size, fill=alt.expr(paint), **quiet).encode(
            x=alt.XValue(alt.expr(corner[0])), y=alt.YValue(alt.expr(corner[1]))
        )
        for shape, size, paint in (
            ("circle", 190, themed(lambda p: p.background)),
            (alt.expr(f"{card.right} ? 'circle' : 'cross'"), 70, color),
        )
    ]
    captions = base.mark_text(
        align="left", baseline="top", fontSize=10, lineHeight=LINE, limit=card.width - 6,
        fill=alt.expr(themed(lambda p: p.ink)), text=alt.expr(card.caption), **quiet,
    ).encode(x=alt.XValue(alt.expr(card.x)), y=alt.YValue(alt.expr(f"{card.y} + {pixels + 5}")))  # fmt: skip
    return [
        frames.properties(name=name),
        pictures.properties(name=f"{name}_images"),
        blanks.properties(name=f"{name}_blanks"),
        signs[0].properties(name=f"{name}_disks"),
        signs[1].properties(name=f"{name}_signs"),
        captions.properties(name=f"{name}_captions"),
    ]


def heading_layer(base: alt.Chart, *, text: str, x: str, y: str, name: str) -> alt.Chart:
    """Returns headings over groups of cards.

    Args:
        base: A row a heading.
        text: Expression of what it says.
        x: Expression of the pixels of its left edge.
        y: Expression of the pixels of its upper edge.
        name: Of the layer.
    """
    return (
        base.mark_text(
            align="left", baseline="top", fontSize=12, fontWeight=600, limit=420, aria=False, tooltip=None,
            fill=alt.expr(themed(lambda p: p.ink)), text=alt.expr(text),
        )
        .encode(x=alt.XValue(alt.expr(x)), y=alt.YValue(alt.expr(y)))
        .properties(name=name)
    )  # fmt: skip


def share_text(value: str) -> str:
    """Returns the expression of a confidence in words that claim no certainty."""
    return f"({value} >= 0.9995 ? '> 0.999' : format({value}, '.3f'))"
