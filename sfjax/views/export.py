"""Charts as files: figures for papers and specifications for anything else."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import altair as alt
import vl_convert

from sfjax.files import write_whole

FORMATS: Final = (".svg", ".png", ".pdf", ".html", ".json")


def save(
    chart: alt.TopLevelMixin, path: str | os.PathLike[str], *, params: Mapping[str, Any] | None = None, ppi: float = 300
) -> None:
    """Writes a chart as what its name says: .svg, .png, .pdf, .html (offline, interactive) or .json (Vega-Lite).

    Args:
        chart: What a view returned.
        path: Where to; the folder exists.
        params: Parameters to set first, such as `{"sf_azimuth": 120, "sf_dark": True}`.
        ppi: Pixels per inch of a .png.

    Raises:
        ValueError: The ending is none of these, or the chart has no such parameter.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(
            f"A chart is saved as one of {', '.join(FORMATS)}; got {path.name}. Choose one of these endings."
        )
    spec = with_params(chart.to_dict(), params or {})
    suffix = path.suffix.lower()
    if suffix == ".json":
        content = json.dumps(spec, indent=1).encode()
    elif suffix == ".svg":
        content = vl_convert.vegalite_to_svg(vl_spec=spec).encode()
    elif suffix == ".html":
        content = vl_convert.vegalite_to_html(vl_spec=spec, bundle=True, renderer="canvas").encode()
    elif suffix == ".pdf":
        content = vl_convert.vegalite_to_pdf(vl_spec=spec)
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
        {**param, "value": params[param["name"]]} if param["name"] in params else param
        for param in spec.get("params", [])
    ]
    return {**spec, "params": changed}
