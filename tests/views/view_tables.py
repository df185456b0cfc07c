"""Tables of two and of twelve classes, as views want them."""

import numpy as np
import pandas as pd

CSFS = ("msr", "pe", "mcd_mi")
SETS = (("iid_test", "iid"), ("other_scanner", "acquisition"), ("rare_kind", "manifestation"))


def make_points(n: int = 90, classes: tuple[str, ...] = ("benign", "malignant"), seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label, place = rng.integers(0, len(classes), n), np.arange(n) % len(SETS)
    wrong = rng.random(n) < 0.3
    predicted = np.where(wrong, (label + 1) % len(classes), label)
    points = pd.DataFrame(
        {
            "id": np.arange(n) * 7 + 3,
            "test_set": [SETS[i][0] for i in place],
            "kind": [SETS[i][1] for i in place],
            "domain": np.where(place == 1, "B", "A"),
            "subclass": "",
            "label": np.asarray(classes)[label],
        }
    )
    points[["x", "y", "z"]] = rng.normal(size=(n, 3)) * 20 + label[:, None] * 10
    points[["u", "v"]] = points[["x", "y"]].to_numpy() * 0.8
    points = points.assign(level=0, placed=0, embedding="3d-2d", feature_cluster=place)
    for csf in CSFS:
        points[f"predicted_{csf}"] = np.asarray(classes)[predicted]
        points[f"correct_{csf}"] = (~wrong).astype(int)
        points[f"confidence_{csf}"] = 0.5 + 0.5 * rng.random(n)
    return points


def make_curves(n: int = 20) -> pd.DataFrame:
    coverage = np.arange(1, n + 1) / n
    rows = [
        pd.DataFrame(
            {
                "csf": csf,
                "test_set": name,
                "kind": kind,
                "coverage": coverage,
                "selective_risk": 0.3 * coverage ** (i + 1),
                "low": 0.2 * coverage ** (i + 1),
                "high": 0.4 * coverage ** (i + 1),
            }
        )
        for name, kind in SETS
        for i, csf in enumerate(CSFS)
    ]
    return pd.concat(rows, ignore_index=True)


def make_results(task: str = "skin") -> pd.DataFrame:
    rows = [
        {"task": task, "test_set": name, "shift": name, "kind": kind, "level": 0, "domain": domain, "csf": csf,
         "metric": metric, "value": value * (1 + i), "low": value * 0.9, "high": value * 3, "n": 30, "seed": seed}
        for name, kind in SETS
        for domain in ("all", "B")
        for i, csf in enumerate(CSFS)
        for metric, value in (("aurc", 0.05), ("accuracy", 0.2))
        for seed in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)
