"""Tables of what scores say, small enough to count by hand."""

import itertools
import re

import numpy as np
import pandas as pd
import vl_convert

from sfjax.views import export

SETS = (("iid_test", "iid"), ("other_scanner", "acquisition"))
CSFS = ("msr", "mcd_mi")


def render(chart, **params) -> str:
    return vl_convert.vegalite_to_svg(vl_spec=export.with_params(chart.to_dict(), params))


def groups(svg: str, view: str) -> list[str]:
    """The marks of a named view, a text a panel; nothing of a view whose name only begins like it."""
    parts = re.split(rf'class="[^"]*\b{view}(?:_\d+)?_marks\b', svg)[1:]  # Altair numbers the views of a row
    return [part[: part.index("</g>")] for part in parts]


def texts(svg: str, view: str) -> list[str]:
    return [text for group in groups(svg, view) for text in re.findall(r"<text[^>]*>([^<]*)</text>", group)]


def make_bins() -> pd.DataFrame:
    rows = [
        {"csf": csf, "test_set": name, "kind": kind, "bin": i, "confidence": 0.5 + 0.2 * i,
         "accuracy": 0.6 + 0.1 * i - 0.05 * shift, "low": 0.3, "high": 0.9, "n": 10 + 10 * i}
        for csf in CSFS for shift, (name, kind) in enumerate(reversed(SETS)) for i in range(3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_histogram() -> pd.DataFrame:
    rows = [
        {"csf": csf, "test_set": name, "kind": kind, "start": i / 10, "end": (i + 1) / 10, "correct": 10 ** (i - 7),
         "failures": place + 3 * (9 - i)}
        for place, csf in enumerate(CSFS) for name, kind in SETS for i in (7, 8, 9)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_confusion(count: int = 3) -> pd.DataFrame:
    names = [f"class {i}" for i in range(count)]
    rows = [
        {"csf": csf, "test_set": name, "kind": kind, "label": label, "predicted": predicted,
         "n": 50 if label == predicted else 1 + (3 * i) % 7, "confidence": 0.95 if i % 2 else 0.4}
        for csf in CSFS for name, kind in SETS
        for i, (label, predicted) in enumerate(itertools.product(names, names))
        if (i % 5 != 2 or label == predicted)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_operating(points: int = 20) -> pd.DataFrame:
    """Thresholds of two csfs on three test sets: one like the source, one worse, one on which little is accepted."""
    share = np.arange(1, points + 1) / points
    parts = []
    for name, kind, risk, power in (("far", "acquisition", 0.5, 1.0), ("iid_test", "iid", 0.2, 1.0),
                                    ("strange", "manifestation", 0.4, 6.0)):  # fmt: skip
        for place, csf in enumerate(CSFS):
            coverage = np.where(share**power < 0.01, 0, share**power)
            selective = np.where(coverage > 0, risk * coverage ** (0.5 + place), np.nan)
            part = {"point": np.arange(1, points + 1), "threshold": 1 - share, "coverage": coverage,
                    "selective_risk": selective, "low": 0.8 * selective, "high": 1.3 * selective}  # fmt: skip
            parts.append(pd.DataFrame({"csf": csf, "test_set": name, "kind": kind, **part}))
    return pd.concat(parts, ignore_index=True)
