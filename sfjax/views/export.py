"""Charts as files: figures for papers and specifications for anything else."""

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import altair as alt
import vl_convert

from sfjax.files import write_whole
from sfjax.views.thumbnails import to_jpeg

FORMATS: Final = (".svg", ".png", ".pdf", ".html", ".json")
MAX_TRANSLUCENT: Final = 2_000
"""Translucent points of a PDF: each is a group of its own, which readers draw slowly."""
_IMAGE: Final = re.compile(r"data:image/webp;base64,[A-Za-z0-9+/=]+")


def save(
    chart: alt.TopLevelMixin, path: str | os.PathLike[str], *, params: Mapping[str, Any] | None = None, ppi: float = 300
) -> None:
    """Writes a chart as what its name says: .svg, .png, .pdf, .html (offline, interactive) or .json (Vega-Lite).

    In a PDF, images are JPEG: it holds those as they are, and not every converter reads WebP.

    Args:
        chart: What a view returned.
        path: Where to; the folder exists.
        params: Parameters to set first, such as `{"sf_azimuth": 120, "sf_dark": True}`.
        ppi: Pixels per inch of a .png.

    Raises:
        ValueError: The ending is none of these, the chart has no such parameter, a PDF would hold more than 2 000
            translucent points, or an image is AVIF, which converters leave out without a word.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(
            f"A chart is saved as one of {', '.join(FORMATS)}; got {path.name}. Choose one of these endings."
        )
    spec = with_params(chart.to_dict(), params or {})
    suffix = path.suffix.lower()
    if "data:image/avif" in json.dumps(spec):
        raise ValueError(
            "The chart holds AVIF images, which figures would lack. Encode them by sfjax.views.thumbnails."
        )
    if suffix == ".json":
        content = json.dumps(spec, indent=1).encode()
    elif suffix == ".svg":
        content = vl_convert.vegalite_to_svg(vl_spec=spec).encode()
    elif suffix == ".html":
        content = vl_convert.vegalite_to_html(vl_spec=spec, bundle=True, renderer="canvas").encode()
    elif suffix == ".pdf":
        if (count := translucent_points(spec)) > MAX_TRANSLUCENT:
            raise ValueError(
                f"A PDF of {count} translucent points would be slow to open, which it is above {MAX_TRANSLUCENT}. "
                "Save a .png at 300 ppi, or draw fewer points."
            )
        content = vl_convert.vegalite_to_pdf(vl_spec=_with_jpeg(spec))
    else:
        content = vl_convert.vegalite_to_png(vl_spec=spec, ppi=ppi)
    write_whole(path, lambda file: file.write_bytes(content))


def with_params(spec: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the specification with other values of its parameters.

    Raises:
        ValueError: There is no such parameter.
    """
    known = {param["name"] for param in spec.get("params", [])}
    unknown = [name for name in params if name not in known]
    if unknown:
        raise ValueError(f"The chart has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
    changed = [
        # A value takes the place of an expression.
        {key: item for key, item in param.items() if key != "expr"} | {"value": params[param["name"]]}
        if param["name"] in params
        else param
        for param in spec.get("params", [])
    ]
    return {**spec, "params": changed}


def translucent_points(spec: Mapping[str, Any]) -> int:
    """Returns how many points a specification may draw with an opacity that varies or is below 1: of its largest view.

    Args:
        spec: Of Vega-Lite, with data inside.
    """
    rows = {name: _num_rows(data) for name, data in spec.get("datasets", {}).items()}

    def counts(view: Mapping[str, Any], inherited: int) -> Iterator[int]:
        data = view.get("data")
        if isinstance(data, Mapping):
            inherited = rows.get(data.get("name", ""), 0) if "name" in data else _num_rows(data.get("values", []))
        mark = view["mark"] if isinstance(view.get("mark"), Mapping) else {}
        if mark.get("type") in ("point", "circle", "square") and mark.get("fillOpacity", mark.get("opacity", 1)) != 1:
            yield inherited
        for key in ("layer", "hconcat", "vconcat", "concat"):
            for child in view.get(key, []):
                yield from counts(child, inherited)
        if "spec" in view:
            yield from counts(view["spec"], inherited)

    return max(counts(spec, 0), default=0)


def _num_rows(data: Any) -> int:
    if isinstance(data, str):
        return max(sum(1 for _ in csv.reader(io.StringIO(data))) - 1, 0)
    return len(data)


def _with_jpeg(node: Any) -> Any:
    """Returns the specification with its WebP images as JPEG."""
    if isinstance(node, str):
        return _IMAGE.sub(lambda found: to_jpeg(found[0]), node)
    if isinstance(node, Mapping):
        return {key: _with_jpeg(value) for key, value in node.items()}
    return [_with_jpeg(item) for item in node] if isinstance(node, list) else node
