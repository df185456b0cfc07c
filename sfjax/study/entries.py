"""What stands in the columns of a run's tables: a CSF on the network of a training method.

An entry is called like its CSF where that applies to one method alone, or to any and is scored on the run's first
method, as in the study. On another method's network it is `METHOD_CSF`: `devries_msr`.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from sfjax.csf import ANY, CSFS, FITTED, PAPER
from sfjax.training import METHODS

GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({"all": (*CSFS, *FITTED), "paper": PAPER})
"""What stands for several names: of each, those that the run's methods allow."""
AUGMENTED: Final = "tta_"
"""How the names of scores begin that read passes over augmented copies."""


def csf_name(entry: str) -> str:
    """Returns the name of an entry's CSF, in `CSFS` or `FITTED`.

    Raises:
        ValueError: There is none of that name.
    """
    return _split(entry)[1]


def methods_of(csf: str) -> frozenset[str]:
    """Returns the training methods whose networks a CSF applies to."""
    return CSFS[csf].methods if csf in CSFS else ANY


def method_of(entry: str, methods: Sequence[str]) -> str:
    """Returns the training method whose network an entry is scored on.

    Args:
        entry: Its name.
        methods: Those of the run, in order.

    Raises:
        ValueError: There is no such entry, or no network of the run has what it reads.
    """
    method, csf = _split(entry)
    applies_to = methods_of(csf)
    fitting = [one for one in methods if one in applies_to and method in (None, one)]
    if method is not None and method not in applies_to:
        raise ValueError(
            f"csfs: {csf} reads what networks trained by {' or '.join(sorted(applies_to))} have, and {entry} "
            f"asks for it on one trained by {method}. Ask for {csf}."
        )
    if not fitting:
        wanted = [method] if method is not None else sorted(applies_to)
        raise ValueError(
            f"csfs: {entry} is scored on networks trained by {' or '.join(wanted)}, and the run's methods are "
            f"{', '.join(methods)}. Add one to methods."
        )
    return fitting[0]


def entries(csfs: Iterable[str], methods: Sequence[str], *, augmented: bool = False) -> tuple[str, ...]:
    """Returns the entries of a run.

    Args:
        csfs: Their names, or `all` or `paper` (`GROUPS`): of any method on the first one, and those of a single method
            on its network. What is one score on one network under two names comes once.
        methods: Those of the run, in order.
        augmented: Whether there are passes over augmented copies, which some scores read.

    Raises:
        ValueError: There is no such entry, no network of the run has what it reads, or a score is named twice.
    """
    named: dict[object, str] = {}
    for one in csfs:
        group = [
            name
            for name in GROUPS.get(one, ())
            if methods_of(name).intersection(methods) and (augmented or not name.startswith(AUGMENTED))
        ]
        for name in [one] if one not in GROUPS else group:
            csf = csf_name(name)
            if csf.startswith(AUGMENTED) and not augmented:
                raise ValueError(f"csfs: {name} is of passes over augmented copies. Ask for some: num_augmentations.")
            column = CSFS[csf].score if csf in CSFS else csf, method_of(name, methods)
            if one not in GROUPS and column in named:
                raise ValueError(f"csfs must not name one thing twice; got {named[column]} and {name}.")
            named.setdefault(column, name)
    return tuple(named.values())


def _split(entry: str) -> tuple[str | None, str]:
    found = _found(entry)
    if found is None:
        raise ValueError(
            f"csfs must be among {', '.join((*GROUPS, *CSFS, *FITTED))}, or one of them on the network of a method, "
            f"such as devries_msr; got {entry}."
        )
    return found


def _found(name: str) -> tuple[str | None, str] | None:
    """Returns the method that an entry's name begins with, if any, and its CSF; None where it is no entry's."""
    if name in CSFS or name in FITTED:
        return None, name
    for method in METHODS:
        csf = name.removeprefix(f"{method}_")
        if csf != name and (csf in CSFS or csf in FITTED):
            return method, csf
    return None
