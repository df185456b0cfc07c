"""The figures and numbers of the case study in docs/case_study.md: points and curves of finished runs, no images.

    python -m experiments.figures.case_study RUN [RUN ...] --called benign --out docs/case_study

Every run is of one manifest, whose images are read again for what they look like on average. Of each, `<task>_*.svg`
and `.png` are written, and `<task>_numbers.md`, where every number of the text stands.
"""

import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import altair as alt
import jax
import numpy as np
import pandas as pd
import tyro
from PIL import Image

from experiments.compilation import use_compilation_cache
from experiments.figures import case_numbers
from experiments.figures.case_run import BOTH, IID, STATISTICS, UNSEEN, Case, read_case
from sfjax import keys, views
from sfjax.files import write_whole
from sfjax.report import curves_table
from sfjax.views import theme
from sfjax.views.palette import LIGHT, themed

SHOWN: Final = ("msr", "mcd_msr", "mahalanobis", "knn")
"""The scores whose curves are drawn: of the softmax, of dropout, and of distance."""
SHAPES: Final = ("circle", "triangle-up", "square", "diamond", "cross")


def main(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
    out: Path = Path("docs/case_study"),
    csf: str = "msr",
    called: str | None = None,
    data: Path | None = None,
) -> None:
    """Draws the figures of finished runs, and writes their numbers.

    Args:
        runs: Their folders.
        out: Where to; it is made where it is missing.
        csf: The score that is looked at closely.
        called: The class that images are wrongly called; of runs without it, and if left out, all failures count.
        data: The folder that the manifest is in now, if it was moved.
    """
    out.mkdir(parents=True, exist_ok=True)
    for run in runs:
        case = read_case(run, data=data)
        name = called if called in set(case.images["label"]) else None
        text = "\n".join(case_numbers.texts(case, csf, name)).encode()
        write_whole(out / f"{case.name}_numbers.md", lambda path, text=text: path.write_bytes(text))
        for file, chart in figures(case, csf, name):
            views.save(chart, out / file, ppi=110)
            if file.endswith(".png"):
                small(out / file)
            print(out / file)


def small(path: Path) -> None:
    """Writes an image with few colors again, as a palette: a third of the bytes."""
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    write_whole(path, lambda temporary: few.save(temporary, format="PNG", optimize=True))


def figures(case: Case, csf: str, name: str | None) -> Iterator[tuple[str, Any]]:
    """Yields the figures of a run by file name.

    Args:
        case: The run.
        csf: The score that is looked at closely.
        name: The class that images are wrongly called; None for all failures.
    """
    yield f"{case.name}_latent.png", latent_panels(case, csf)
    yield f"{case.name}_statistics.svg", statistics_chart(case_numbers.told_apart(case))
    yield f"{case.name}_risk_coverage.svg", risk_coverage(case)
    yield f"{case.name}_confident.svg", confident_chart(case_numbers.called(case, name, csfs=(csf,)), csf, name)
    own = case_numbers.uncorrupted_slices(case, csf)
    if len(own):
        tried = f"Of {own['tried'].iloc[0]} groups tried, those of uncorrupted images with the smallest p."
        yield f"{case.name}_slices.svg", views.failure_slices(own, subtitle=tried, most=8)


def latent_panels(case: Case, csf: str) -> alt.FacetChart:
    """Returns the latent space once a set: its images as right and wrong, the i.i.d. ones behind them in gray."""
    points = case.points[case.points["kind"] != "corruption"]
    tests = case.images.drop_duplicates(["test_set", "domain"])
    places = dict(zip(zip(tests["test_set"], tests["domain"], strict=True), tests["set"], strict=True))
    named = [places[key] for key in zip(points["test_set"], points["domain"], strict=True)]
    table = points.assign(
        set=named,
        outcome=np.where(points[f"correct_{csf}"] == 1, "right", "wrong"),
        sure=points[f"confidence_{csf}"],
    )[["set", "u", "v", "outcome", "sure"]].round(2)
    shown = [name for name in case.sets if name != BOTH]
    iid = table[table["set"] == IID]
    panels = [iid.assign(set=name, outcome="i.i.d.", sure=1.0) for name in shown if name != IID]
    everything = pd.concat([*panels, *(table[table["set"] == name] for name in shown)])
    outcomes = ["i.i.d.", "right", "wrong"]
    color = alt.Scale(domain=outcomes, range=[LIGHT.line, LIGHT.correct[-3], LIGHT.failure[-3]])
    low, high = table[["u", "v"]].min(), table[["u", "v"]].max()
    middle, half = (low + high) / 2, (high - low) * 0.53
    ends = {name: [float(middle[name] - half[name]), float(middle[name] + half[name])] for name in ("u", "v")}
    height = 265 * float(half["v"] / half["u"])  # one unit is as long on both axes
    axis = alt.Axis(labels=False, ticks=False, title=None, grid=False, domain=False)
    sure = alt.Scale(domain=[float(table["sure"].min()), 1], range=[0.2, 0.9])
    marks = (
        alt.Chart()
        .mark_point(filled=True, opacity=1, size=15, aria=False)
        .encode(
            x=alt.X("u:Q", scale=alt.Scale(domain=ends["u"], nice=False), axis=axis),
            y=alt.Y("v:Q", scale=alt.Scale(domain=ends["v"], nice=False), axis=axis),
            color=alt.Color("outcome:N", scale=color, legend=alt.Legend(title=None, orient="top")),
            shape=alt.Shape("outcome:N", scale=alt.Scale(domain=outcomes, range=["circle", "circle", "cross"])),
            fillOpacity=alt.FillOpacity("sure:Q", scale=sure, legend=None),
        )
        .properties(width=265, height=height, view=alt.ViewBackground(stroke=LIGHT.line))
    )
    chart = alt.layer(marks, data=everything).facet(facet=alt.Facet("set:N", title=None, sort=shown), columns=2)
    return _finished(
        chart,
        f"{case.name}: where the network sees the images",
        f"t-SNE of the features, seed {case.seeds[0]}; the i.i.d. images in gray behind each set. "
        f"The paler, the less confident ({csf}).",
    )


def statistics_chart(apart: pd.DataFrame) -> alt.LayerChart:
    """Returns how well each statistic of the pixels tells a set from the i.i.d. images, with intervals."""
    table = apart[(apart["of"] == "all") & (apart["set"] != BOTH)]
    sets = table["set"].unique().tolist()
    return _dots(
        table,
        {"title": "AUROC: below 0.5 less than in i.i.d. images, above more"},
        ("statistic", list(STATISTICS)),
        ("set", sets),
        "What the images of a set look like, one statistic at a time",
        "Of all images; lines are 95 % intervals. 0.5: the statistic is as in the i.i.d. images.",
        rule=0.5,
    )


def risk_coverage(case: Case) -> Any:
    """Returns the risk-coverage curves of some scores on every set, the first seed's."""
    scorers = case.scorers._replace(csfs={name: one for name, one in case.scorers.csfs.items() if name in SHOWN})
    tables = {
        name: some.reset_index(drop=True).assign(kind="iid" if name == IID else "acquisition")
        for name in case.sets
        if name != BOTH
        for some in [case.images[case.images["set"] == name]]
    }
    said = {name: case.outputs[name] for name in tables}
    bands = keys.stream(jax.random.key(0), "bands")
    curves = curves_table(said, tables, scorers, key=bands, num_points=50).round(4)
    return views.risk_coverage(
        curves,
        title=f"{case.name}: selective risk against coverage",
        subtitle=f"Seed {case.seeds[0]}; all images are accepted at coverage 1.",
        columns=2,
    )


def confident_chart(found: pd.DataFrame, csf: str, name: str | None) -> alt.LayerChart:
    """Returns by subclass the share of images that are called a class, or fail, and accepted; a dot a seed."""
    table = found[(found["rule"] == "accepted") & (found["n"] >= case_numbers.FEW)]
    table = table.assign(
        images=[f"{r.set}: {r.subclass} ({r.label}), n = {r.n}" for r in table.itertuples()],
        seed=[f"seed {seed}" for seed in table["seed"]],
    )
    # Those that are wrongly called it come first, then the sets, the i.i.d. one first.
    place = {one: i for i, one in enumerate([IID, *sorted(set(table["set"]) - {IID, UNSEEN}), UNSEEN])}
    rows = table.assign(right=table["label"] == name, place=table["set"].map(place))
    rows = rows.sort_values(["right", "place", "label", "subclass"], kind="stable")
    order = list(dict.fromkeys(rows["images"]))
    what = "that fail" if name is None else f"called {name}"
    says = "" if name is None else f" Of the class {name} itself this is right: those come last."
    return _dots(
        rows,
        {"axis": alt.Axis(format="%"), "title": "share of the images"},
        ("images", order),
        ("seed", list(dict.fromkeys(rows["seed"]))),
        f"Images {what} with a score ({csf}) that is accepted",
        f"As 80 % of the validation images' scores are. Lines are exact 95 % intervals.{says}",
    )


def _dots(
    table: pd.DataFrame,
    x: Mapping[str, Any],
    rows: tuple[str, list[str]],
    color: tuple[str, list[str]],
    title: str,
    subtitle: str,
    *,
    rule: float | None = None,
) -> alt.LayerChart:
    """Returns values with their intervals, those of one row below each other, told apart by color and shape."""
    (field, names), (column, order), zero_to_one = color, rows, alt.Scale(domain=[0, 1])
    y = alt.Y(f"{column}:N", sort=order, title=None, axis=alt.Axis(labelLimit=320))
    kept = table[[column, field, "value", "low", "high"]].round(4)
    offset = alt.YOffset(f"{field}:N", sort=names)
    legend = alt.Legend(title=None, orient="top")
    colors = alt.Scale(domain=names, range=list(LIGHT.curves[: len(names)]))
    paint = alt.Color(f"{field}:N", scale=colors, legend=legend)
    shape = alt.Shape(f"{field}:N", scale=alt.Scale(domain=names, range=list(SHAPES[: len(names)])), legend=legend)
    base = alt.Chart(kept).encode(y=y, yOffset=offset, color=paint)
    lines = base.mark_rule(strokeWidth=2, opacity=0.7).encode(x=alt.X("low:Q", scale=zero_to_one, **x), x2="high:Q")
    dots = base.mark_point(filled=True, opacity=1, size=50).encode(
        x=alt.X("value:Q", scale=zero_to_one, **x), shape=shape
    )
    layers = [lines, dots]
    if rule is not None:
        at = alt.Chart(alt.InlineData(values=[{"at": rule}])).mark_rule(stroke=LIGHT.muted, strokeDash=[4, 3])
        layers.insert(0, at.encode(x="at:Q"))
    chart = alt.layer(*layers).properties(width=360, height=alt.Step(11))
    return _finished(chart, title, subtitle)


def _finished(chart: Any, title: str, subtitle: str) -> Any:
    heading = alt.Title(title, subtitle=subtitle, anchor="start")
    muted = alt.expr(themed(lambda palette: palette.muted))
    chart = chart.properties(title=heading, description=f"{title}. {subtitle}", padding=12)
    return chart.add_params(theme.dark_param(linked=True)).configure(**theme.config()).configure_title(
        anchor="start", fontSize=15, subtitleColor=muted
    )  # fmt: skip


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)  # of libraries; ours are errors in the tests
    use_compilation_cache()
    try:
        tyro.cli(main, description=__doc__)
    except ValueError as error:
        sys.exit(f"Error: {error}")
