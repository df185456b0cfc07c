"""Confidence scoring functions: pure functions of `sfjax.outputs.Outputs`, and the table that names them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sfjax.csf import monte_carlo, rules
from sfjax.csf.base import ANY, CSF
from sfjax.csf.compose import deterministic, mc_mean, of_mc_statistics

CSFS: Final[Mapping[str, CSF]] = MappingProxyType(
    {
        "msr": deterministic(rules.log_odds, probability=rules.softmax_maximum),
        "pe": deterministic(rules.negative_log_entropy),
        "mls": deterministic(rules.maximum_logit),
        "energy": deterministic(rules.negative_energy),
        "mcd_msr": mc_mean(rules.log_odds, probability=rules.softmax_maximum),
        "mcd_pe": mc_mean(rules.negative_log_entropy),
        "mcd_ee": of_mc_statistics(monte_carlo.negative_expected_entropy),
        "mcd_mi": of_mc_statistics(monte_carlo.negative_mutual_information),
    }
)
"""The scores that need nothing but the outputs they score, by the names that tables use."""

__all__ = ["ANY", "CSF", "CSFS", "deterministic", "mc_mean", "of_mc_statistics"]
