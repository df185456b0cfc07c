"""Metrics of failure detection and their statistics.

Metrics are functions of arrays, one entry an image, that jit and vmap; what holds of ties, NaN and weights for all of
them stands in `sfjax.metrics.ordering`. `bootstrap` resamples many of them at once, and what comes after resampling
(`interval`, `compare`, `rank_distribution`, ...) and the fitting of guarantees is NumPy on the host, in float64.
"""

from sfjax.metrics.achievable import aurc_achievable
from sfjax.metrics.bootstrap import bootstrap, resample_weights
from sfjax.metrics.calibration import (
    brier,
    brier_decomposition,
    ece,
    ece_classwise,
    ece_equal_mass,
    mce,
    nll,
)
from sfjax.metrics.class_balanced import augrc_balanced, aurc_balanced
from sfjax.metrics.compare import (
    FEWEST_SEEDS,
    Comparison,
    compare,
    hierarchical_interval,
    holm,
    resamples_needed,
    seed_interval,
)
from sfjax.metrics.cost import confident_cost_correlation, cost_of_failures
from sfjax.metrics.failure_detection import (
    accepted_failure_rate,
    ap_error,
    ap_success,
    auroc_f,
    fpr_at_95tpr,
    silent_failure_rate,
)
from sfjax.metrics.grouped import by_group
from sfjax.metrics.guarantees import Guarantee, crc_threshold, ltt_threshold, one_per_patient, sgr_threshold
from sfjax.metrics.intervals import UNDEFINED_ALLOWED, Estimate, Interval, difference, interval, mean, p_value
from sfjax.metrics.legacy import legacy_aurc
from sfjax.metrics.performance import accuracy, balanced_accuracy
from sfjax.metrics.rank import critical_difference, kendall_tau, rank_distribution, ranks, tau_interval
from sfjax.metrics.risk_coverage import (
    RiskCoverageCurve,
    augrc,
    aurc,
    best_aurc,
    eaugrc,
    eaurc,
    naurc,
    risk_coverage_curve,
    scod_loss,
)
from sfjax.metrics.scored import METRICS, Metric, Scored, coverage_at, risk_at, scored
from sfjax.metrics.working_points import (
    AtThreshold,
    WorkingPoint,
    at_threshold,
    coverage_at_risk,
    risk_at_coverage,
    working_point,
)

__all__ = [
    "FEWEST_SEEDS",
    "METRICS",
    "UNDEFINED_ALLOWED",
    "AtThreshold",
    "Comparison",
    "Estimate",
    "Guarantee",
    "Interval",
    "Metric",
    "RiskCoverageCurve",
    "Scored",
    "WorkingPoint",
    "accepted_failure_rate",
    "accuracy",
    "ap_error",
    "ap_success",
    "at_threshold",
    "augrc",
    "augrc_balanced",
    "aurc",
    "aurc_achievable",
    "aurc_balanced",
    "auroc_f",
    "balanced_accuracy",
    "best_aurc",
    "bootstrap",
    "brier",
    "brier_decomposition",
    "by_group",
    "compare",
    "confident_cost_correlation",
    "cost_of_failures",
    "coverage_at",
    "coverage_at_risk",
    "crc_threshold",
    "critical_difference",
    "difference",
    "eaugrc",
    "eaurc",
    "ece",
    "ece_classwise",
    "ece_equal_mass",
    "fpr_at_95tpr",
    "hierarchical_interval",
    "holm",
    "interval",
    "kendall_tau",
    "legacy_aurc",
    "ltt_threshold",
    "mce",
    "mean",
    "naurc",
    "nll",
    "one_per_patient",
    "p_value",
    "rank_distribution",
    "ranks",
    "resample_weights",
    "resamples_needed",
    "risk_at",
    "risk_at_coverage",
    "risk_coverage_curve",
    "scod_loss",
    "scored",
    "seed_interval",
    "sgr_threshold",
    "silent_failure_rate",
    "tau_interval",
    "working_point",
]
