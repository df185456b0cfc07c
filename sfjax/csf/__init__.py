"""Confidence scoring functions: pure functions of `sfjax.outputs.Outputs`, and the table that names them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sfjax.csf import learned, monte_carlo, rules
from sfjax.csf.base import ANY, CSF
from sfjax.csf.compose import deterministic, mc_mean, of_mc_statistics

_MSR = deterministic(rules.log_odds, probability=rules.softmax_maximum)
_MCD_MSR = mc_mean(rules.log_odds, probability=rules.softmax_maximum)
_MCD_MI = of_mc_statistics(monte_carlo.negative_mutual_information)
_GAMBLERS, _ENSEMBLE = frozenset({"deep_gamblers"}), frozenset({"ensemble"})

CSFS: Final[Mapping[str, CSF]] = MappingProxyType(
    {
        "msr": _MSR,
        "pe": deterministic(rules.negative_log_entropy),
        "mls": deterministic(rules.maximum_logit, of_softmax=False),
        "energy": deterministic(rules.negative_energy, of_softmax=False),
        "mcd_msr": _MCD_MSR,
        "mcd_pe": mc_mean(rules.negative_log_entropy),
        "mcd_ee": of_mc_statistics(monte_carlo.negative_expected_entropy),
        "mcd_mi": _MCD_MI,
        "confidnet": learned.learned_confidence("confidnet"),
        "devries": learned.learned_confidence("devries"),
        "dg_res": learned.RESERVATION,
        "dg_msr": _MSR._replace(methods=_GAMBLERS),
        "dg_mcd_msr": _MCD_MSR._replace(methods=_GAMBLERS),
        "ensemble_msr": _MCD_MSR._replace(methods=_ENSEMBLE),
        "ensemble_mi": _MCD_MI._replace(methods=_ENSEMBLE),
    }
)
"""The scores that need nothing but the outputs they score, by the names that tables use."""

__all__ = ["ANY", "CSF", "CSFS", "deterministic", "mc_mean", "of_mc_statistics"]
