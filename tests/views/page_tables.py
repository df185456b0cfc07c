"""Tables of a page's sections that have no chart of their own."""

import numpy as np
import pandas as pd
from view_tables import CSFS, SETS

from sfjax.views import TaskPage, thumbnails

EVIL = "<img src=x onerror=window.hacked=1>"


def make_promises() -> pd.DataFrame:
    cells = {"msr": ("2.0 % (80 %)", "kept"), "pe": ("none", "none")}, {"msr": ("30.0 % (70 %)", "broken")}
    rows = [
        {"promise": promise, "test_set": test_set, "kind": kind, "csf": csf, "text": text, "state": state}
        for promise in ("At most 5 %", f"At most {EVIL}")
        for (test_set, kind), of_set in zip((("iid_test", "iid"), ("other_scanner", "acquisition")), cells, strict=True)
        for csf, (text, state) in of_set.items()
    ]
    return pd.DataFrame(rows)


def make_diagnosis() -> pd.DataFrame:
    rows = [
        {"sign": "class separation", "test_set": name, "csf": "", "value": value, "low": value - 0.05,
         "high": value + 0.04, "text": f"{value:.0%} of the nearest neighbors have the same class {EVIL}."}
        for (name, _), value in zip(SETS, (0.92, 0.81, 0.55), strict=True)
    ] + [
        {"sign": "silent failures", "test_set": name, "csf": csf, "value": value, "low": value / 2,
         "high": value * 2, "text": f"{csf} is sure of {value:.1%} of the images, and wrong."}
        for csf in CSFS for (name, _), value in zip(SETS, (0.01, 0.04, 0.11), strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_slices(points: pd.DataFrame) -> pd.DataFrame:
    """Returns the images of domain B as a group, with the images that a mark of it must have."""
    rows = []
    for number, (test_set, attribute, value) in enumerate(
        (("other_scanner", "domain", "B"), ("rare_kind", "label", str(points["label"].iloc[0])))
    ):
        found = points[(points["test_set"] == test_set) & (points[attribute] == value)]
        wrong = found[found["correct_msr"] == 0].sort_values("confidence_msr", ascending=False)
        rows.append(
            {"slice": number, "test_set": test_set, "attribute": attribute, "value": value, "csf": "msr",
             "n": len(found), "failures": len(wrong), "rate": 0.26 / (number + 1), "rest_rate": 0.02,
             "low": 0.18 / (number + 1), "high": 0.35 / (number + 1), "p": 1e-5,
             "p_adjusted": 2e-4,
             "words": "", "significant": 1 - number, "tried": 4,
             "exemplars": " ".join(str(i) for i in wrong["id"].head(3)),
             "text": f"{attribute} = {value}: {len(wrong)} of {len(found)} are silent failures; elsewhere 2 %"}
        )  # fmt: skip
    return pd.DataFrame(rows)


def make_strips() -> pd.DataFrame:
    """Returns two samples through two corruptions; the answer of every csf flips at level 3."""
    rows = [
        {"sample": sample, "corruption": corruption, "level": level, "csf": csf, "label": "benign",
         "predicted": "benign" if level < 3 else "malignant", "confidence": 0.95 - 0.06 * level * (i + 1),
         "correct": int(level < 3), "image": 100 * sample + level + 10 * (corruption == "blur")}
        for sample in (1, 2) for corruption in ("noise", "blur") for level in range(6) for i, csf in enumerate(CSFS)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_images(keys: list[int]) -> dict[int, str]:
    rng = np.random.default_rng(0)
    rough = rng.integers(60, 220, (len(keys), 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
    return dict(zip(keys, thumbnails(rough), strict=True))


def make_page(
    points: pd.DataFrame, curves: pd.DataFrame, results: pd.DataFrame, name: str = "skin", *, images: bool = True
) -> TaskPage:
    """Returns a page of these points with every section that needs no chart of its own."""
    classes = tuple(sorted(points["label"].unique()))
    points = points.assign(cluster=np.arange(len(points)) // 6 % 3, representative=0)
    # In one test set failures were drawn three times as often as successes.
    points["weight"] = np.where((points["test_set"] == "rare_kind") & (points["correct_msr"] == 1), 3.0, 1.0)
    points.loc[points.groupby(["test_set", "label", "cluster"]).head(1).index, "representative"] = 1
    for csf in CSFS:
        points[f"rank_{csf}"] = points[f"confidence_{csf}"].rank(ascending=False, method="first").astype(int)
    strips = make_strips()
    return TaskPage(
        name=name,
        classes=classes,
        points=points,
        curves=curves,
        results=results.drop(columns="task"),
        images=make_images(points["id"].tolist()) if images else {},
        probabilities=frozenset({"msr"}),
        notes=(f"A note {EVIL}",),
        promises=make_promises(),
        diagnosis=make_diagnosis(),
        slices=make_slices(points),
        strips=strips,
        strip_images=make_images(sorted(set(strips["image"]))) if images else {},
    )
