"""Confidence scoring functions: pure functions of `sfjax.outputs.Outputs`, and the tables that name them.

`CSFS` has the scores that need nothing but the outputs they score. `FITTED` has those that learn from others first:
`f(train, *, head=None, validation=None, **options) -> CSF`, where `train` and `validation` are the same network's
outputs on images that it was trained and validated with, never on those that are tested or calibrated with.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from sfjax.csf import combined, distances, learned, monte_carlo, rules, shaped, tuned
from sfjax.csf.base import ANY, CSF, augmented_statistics, mc_statistics
from sfjax.csf.calibrated import isotonic, platt, temperature
from sfjax.csf.combined import accept, average, both, product, rank_average, sirc
from sfjax.csf.compose import MSR, Statistics, deterministic, fitted, mc_mean, of_mc_statistics


def _of_passes(statistics: Statistics) -> dict[str, CSF]:
    """Returns the scores of several passes, be they of dropout, of members or over augmented copies."""
    return {
        "msr": mc_mean(rules.log_odds, probability=rules.softmax_maximum, statistics=statistics),
        "pe": mc_mean(rules.negative_log_entropy, statistics=statistics),
        "ee": of_mc_statistics(monte_carlo.negative_expected_entropy, statistics=statistics),
        "mi": of_mc_statistics(monte_carlo.negative_mutual_information, statistics=statistics),
        "sv": of_mc_statistics(monte_carlo.negative_spread, statistics=statistics),
        "waic": of_mc_statistics(monte_carlo.waic, statistics=statistics),
        "mls": of_mc_statistics(monte_carlo.maximum_mean_logit, statistics=statistics, needs_true_logits=True),
        "vr": of_mc_statistics(monte_carlo.agreement, statistics=statistics, predict=monte_carlo.most_voted),
    }


_DROPOUT = _of_passes(mc_statistics)
_GAMBLERS, _ENSEMBLE = frozenset({"deep_gamblers"}), frozenset({"ensemble"})

CSFS: Final[Mapping[str, CSF]] = MappingProxyType(
    {
        "msr": MSR,
        "pe": deterministic(rules.negative_log_entropy),
        "margin": deterministic(rules.margin),
        "mls": deterministic(rules.maximum_logit, needs_true_logits=True),
        "energy": deterministic(rules.negative_energy, needs_true_logits=True),
        "gini": deterministic(rules.gini),
        "gen": deterministic(rules.negative_generalized_entropy),
        "gradnorm": shaped.GRADNORM,
        # The passes of an ensemble are its members, and its scores are called after it.
        **{f"mcd_{name}": csf._replace(methods=ANY - _ENSEMBLE) for name, csf in _DROPOUT.items()},
        **{
            f"tta_{name}": csf._replace(methods=ANY - _ENSEMBLE)
            for name, csf in _of_passes(augmented_statistics).items()
        },
        "confidnet": learned.learned_confidence("confidnet"),
        "mcd_confidnet": learned.MCD_CONFIDNET,
        "mcd_confidnet_waic": learned.MCD_CONFIDNET_WAIC,
        "devries": learned.learned_confidence("devries"),
        "dg_res": learned.RESERVATION,
        "dg_msr": MSR._replace(methods=_GAMBLERS),
        "dg_mcd_msr": _DROPOUT["msr"]._replace(methods=_GAMBLERS),
        "dg_mcd_ee": _DROPOUT["ee"]._replace(methods=_GAMBLERS),
        **{f"ensemble_{name}": csf._replace(methods=_ENSEMBLE) for name, csf in _DROPOUT.items()},
    }
)
"""The scores that need nothing but the outputs they score, by the names that tables use."""

FITTED: Final[Mapping[str, Callable[..., CSF]]] = MappingProxyType(
    {
        "temp_msr": tuned.temperature_msr,
        "maxlogit_pnorm": tuned.maxlogit_pnorm,
        "rel_u": tuned.rel_u,
        "mahalanobis": distances.mahalanobis,
        "relative_mahalanobis": distances.relative_mahalanobis,
        "knn": distances.knn,
        "trust_score": distances.trust_score,
        "vim": shaped.vim,
        "residual": shaped.residual,
        "fdbd": shaped.fdbd,
        "nci": shaped.nci,
        "nnguide": distances.nnguide,
        "react": shaped.react,
        "ash": shaped.ash,
        "scale": shaped.scale,
        "she": distances.she,
        "sirc": combined.sirc_norm,
        "sirc_residual": combined.sirc_residual,
        "sirc_knn": combined.sirc_knn,
        "sirc_plus": combined.sirc_plus,
        "average_msr_mahalanobis": combined.average_msr_mahalanobis,
        "product_msr_mahalanobis": combined.product_msr_mahalanobis,
        "rank_average_msr_knn": combined.rank_average_msr_knn,
        "both_msr_knn": combined.both_msr_knn,
    }
)
"""The scores that learn from training or validation outputs first, by the names that tables use."""

PAPER: Final = ("msr", "mcd_msr", "confidnet", "dg_mcd_msr")
"""Those of Bungert, Kobelke and Jaeger's table (MICCAI 2023)."""

__all__ = [
    "ANY",
    "CSF",
    "CSFS",
    "FITTED",
    "PAPER",
    "accept",
    "average",
    "both",
    "deterministic",
    "fitted",
    "isotonic",
    "mc_mean",
    "of_mc_statistics",
    "platt",
    "product",
    "rank_average",
    "sirc",
    "temperature",
]
