"""What stands in the columns of a run's tables: a CSF on the network of a training method.

An entry is called like its CSF where that applies to one method alone, or to any and is scored on the run's first
method, as in the study. On another method's network it is `METHOD_CSF`: `devries_msr`.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from sfjax.csf import CSF, CSFS
from sfjax.training import METHODS

ALL: Final = "all"


def csf_of(entry: str) -> CSF:
    """Returns the CSF of an entry.

    Raises:
        ValueError: There is none of that name.
    """
    return CSFS[_split(entry)[1]]


def is_entry(name: str) -> bool:
    """Returns whether there is an entry of that name."""
    return _found(name) is not None


def method_of(entry: str, methods: Sequence[str]) -> str:
    """Returns the training method whose network an entry is scored on.

    Args:
        entry: Its name.
        methods: Those of the run, in order.

    Raises:
        ValueError: There is no such entry, or no network of the run has what it reads.
    """
    method, csf = _split(entry)
    fitting = [one for one in methods if one in CSFS[csf].methods and method in (None, one)]
    if method is not None and method not in CSFS[csf].methods:
        raise ValueError(
            f"csfs: {csf} reads what networks trained by {' or '.join(sorted(CSFS[csf].methods))} have, and {entry} "
            f"asks for it on one trained by {method}. Ask for {csf}."
        )
    if not fitting:
        wanted = [method] if method is not None else sorted(CSFS[csf].methods)
        raise ValueError(
            f"csfs: {entry} is scored on networks trained by {' or '.join(wanted)}, and the run's methods are "
            f"{', '.join(methods)}. Add one to methods."
        )
    return fitting[0]


def entries(csfs: Iterable[str], methods: Sequence[str]) -> tuple[str, ...]:
    """Returns the entries of a run.

    Args:
        csfs: Their names, or `all`: of any method on the first one, and those of a single method on its network. What
            is one score on one network under two names comes once.
        methods: Those of the run, in order.

    Raises:
        ValueError: There is no such entry, no network of the run has what it reads, or a score is named twice.
    """
    named: dict[object, str] = {}
    for one in csfs:
        for name in [one] if one != ALL else [name for name, csf in CSFS.items() if csf.methods.intersection(methods)]:
            column = csf_of(name).score, method_of(name, methods)
            if one != ALL and column in named:
                raise ValueError(f"csfs must not name one thing twice; got {named[column]} and {name}.")
            named.setdefault(column, name)
    return tuple(named.values())


def _split(entry: str) -> tuple[str | None, str]:
    found = _found(entry)
    if found is None:
        raise ValueError(
            f"csfs must be among {', '.join(CSFS)}, or one of them on the network of a method, such as devries_msr; "
            f"got {entry}."
        )
    return found


def _found(name: str) -> tuple[str | None, str] | None:
    """Returns the method that an entry's name begins with, if any, and its CSF; None where it is no entry's."""
    if name in CSFS:
        return None, name
    for method in METHODS:
        csf = name.removeprefix(f"{method}_")
        if csf != name and csf in CSFS:
            return method, csf
    return None
