"""Which columns of a table name images or patients, by what they are called and by what stands in them."""

import re
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Int

FEW: Final = 10
"""Of fewer patients no value is asked whether it is of one of them alone: nothing is said of so few anyhow."""
NAMES: Final = frozenset({"row", "image_path", "image_id", "sha256", "patient_id", "patient"})
"""Columns of a data set that do, whatever is in them."""
_WORDS: Final = frozenset(
    (
        *("id", "ids", "uid", "uuid", "guid", "mrn", "ssn", "accession", "hash", "sha1", "sha256", "md5", "blob"),
        *("name", "names", "surname", "firstname", "lastname", "initials", "phone", "address", "email", "mail"),
        *("file", "files", "filename", "filenames", "filepath", "path", "paths", "url", "urls", "uri"),
        *("birth", "birthday", "birthdate", "dob", "date", "dates", "datetime", "timestamp"),
    )
)
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+")
_VALUE: Final = re.compile(
    r"[^\s@]+@[^\s@]+\.[^\s@]+"  # an e-mail address
    r"|\w+://"  # an address in the web
    r"|^(?:[A-Za-z]:|~|\.{1,2})?[\\/]"  # a path from a root or from here
    r"|\S[\\/].*\S[\\/]"  # a path of several folders, or a date with slashes
    r"|[\\/].*\.\w{1,5}$|^\S+\.[A-Za-z]\w{1,3}$"  # a file in a folder, or a file
    r"|\b\d{4}-\d\d-\d\d"  # a date
)


def named_for_identity(column: str) -> bool:
    """Returns whether a column is called like one that names images or patients, or dates them.

    A whole word in it says so, in snake or camel case; `patient_age` names nobody.

    Args:
        column: Its name.

    Example:
        >>> [one for one in ("StudyUID", "file_name", "mrn", "filament", "patient_age") if named_for_identity(one)]
        ['StudyUID', 'file_name', 'mrn']
    """
    return column.lower() in NAMES or any(word.lower() in _WORDS for word in _WORD.findall(column))


def values_identify(values: pd.Series, patients: Int[np.ndarray, " n"], sets: pd.Series) -> bool:
    """Returns whether what stands in a column names images or patients.

    That is where any value looks like a path, a date or an address, or where more than half of the values are each of
    one patient alone (in every set, because corrupted images are of the same patients again).

    Args:
        values: As text; a blank is none.
        patients: Of each row.
        sets: Which set each row is of.
    """
    known = pd.DataFrame({"value": values.to_numpy(), "patient": patients, "set": sets.to_numpy()})
    most = known.groupby("set")["patient"].nunique().max()
    known = known[known["value"] != ""]
    if any(_VALUE.search(value) for value in known["value"].unique()):
        return True
    owners = known.groupby(["set", "value"])["patient"].nunique().groupby("value").max()
    return bool(most >= FEW and len(owners) and (owners == 1).mean() > 0.5)
