"""A table of what failures cost, by true and predicted class, from a CSV file.

```text
true,nevus,melanoma
nevus,0,1
melanoma,20,0
```
"""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from sfjax.data.findings import listing

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Costs(NamedTuple):
    """What predictions cost, in any unit: `sfjax.metrics.cost.cost_of_failures` reads it.

    Attributes:
        costs: From 0 up, shape (t, c), in float64.
        true_classes: Names of the rows: the classifier's classes in its order, then others as in the file.
    """

    costs: Float64[np.ndarray, "t c"]
    true_classes: tuple[str, ...]


def load_costs(path: str | PathLike[str], classes: Sequence[str], labels_found: Sequence[str]) -> Costs:
    """Returns the costs of a CSV file, in the unit of the file, whatever the order of its rows and columns.

    The header names the predicted classes behind one cell of any text, the first column the true class of each row.
    Predicted are exactly the classifier's classes, and each of them has a row; further rows are classes that it does
    not know, and that count as failures. Costs are finite numbers from 0 up, with a decimal point; being right costs 0.
    The file is UTF-8 with or without a byte-order mark, and with any line ends; blank rows are left out.

    Args:
        path: The file.
        classes: The classifier's, in its order.
        labels_found: Labels of the images, each as often as it likes: each needs a row.

    Raises:
        ValueError: All that is wrong with the file, with the rows' numbers, the header being 1.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "costs.csv"
        ...     _ = path.write_text("true,b,a\\nb,0,7\\nother,5,5\\na,1,0\\n")
        ...     load_costs(path, ["a", "b"], ["a", "b", "other"])
        Costs(costs=array([[0., 1.],
               [7., 0.],
               [5., 5.]]), true_classes=('a', 'b', 'other'))
    """
    path = Path(path)
    try:
        # The csv module, as for manifests: it numbers rows as the file does and tells rows of a wrong length.
        with path.open(encoding="utf-8-sig", newline="") as file:
            records = [[value.strip() for value in record] for record in csv.reader(file, strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _refused(path, [f"it is no readable CSV file in UTF-8: {error}"]) from error
    rows = [(number, record) for number, record in enumerate(records, start=1) if any(record)]
    if len(rows) < 2:
        raise _refused(path, ["it needs a header of predicted classes and a row for each true class; it has no rows"])
    header, body = rows[0][1], rows[1:]
    true = [record[0] for _, record in body]
    faults = [*_faults_of_names(header[1:], true, classes, labels_found)]
    for number, record in body:
        faults += _faults_of_row(number, record, header)
    if faults:
        raise _refused(path, faults)
    names = (*classes, *(name for name in true if name not in classes))
    of_name = {record[0]: dict(zip(header[1:], record[1:], strict=True)) for _, record in body}
    return Costs(np.array([[float(of_name[name][one]) for one in classes] for name in names]), names)


def _refused(path: Path, faults: list[str]) -> ValueError:
    message = (
        f"{path.name}: {len(faults)} fault{'s' * (len(faults) > 1)} to correct in the table of costs. The first column "
        "holds true classes, the header predicted ones, the cells what a prediction costs: numbers from 0 up, 0 where "
        "it is right."
    )
    return ValueError("\n  - ".join([message, *faults]))


def _faults_of_names(
    columns: list[str], true: list[str], classes: Sequence[str], labels_found: Sequence[str]
) -> Iterator[str]:
    for what, names in (("columns", columns), ("rows", true)):
        if twice := sorted({name for name in names if name and names.count(name) > 1}):
            yield f"several {what} for {listing(twice)}: keep one of them"
        if "" in names:
            yield f"{names.count('')} of the {what} have no name: fill in the class"
    if missing := [name for name in classes if name not in columns]:
        yield f"no column for {listing(missing)}, which the classifier predicts: add it"
    if unknown := [name for name in dict.fromkeys(columns) if name and name not in classes]:
        yield f"the classifier does not predict {listing(unknown)}: correct the name or remove the column"
    if missing := [name for name in dict.fromkeys([*classes, *labels_found]) if name not in true]:
        yield f"no row for the true class {listing(missing)}: add it"


def _faults_of_row(number: int, record: list[str], header: list[str]) -> Iterator[str]:
    if len(record) != len(header):
        yield f"row {number}: {len(record)} fields, header has {len(header)}"
        return
    for name, text in zip(header[1:], record[1:], strict=True):
        cost = float(text) if _NUMBER.fullmatch(text) else math.nan
        if not (math.isfinite(cost) and cost >= 0):
            yield f"row {number}, column {name}: {text!r} is no finite number from 0 up"
        elif cost > 0 and name == record[0]:
            yield f"row {number}, column {name}: being right costs 0, not {text}"
