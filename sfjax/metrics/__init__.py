"""Metrics of failure detection: functions of arrays, one entry an image, that jit and vmap."""

from sfjax.metrics.bootstrap import Interval, bootstrap_metrics, percentile_interval, resample_weights
from sfjax.metrics.failure_detection import accepted_failure_rate, auroc_f, fpr_at_95tpr, silent_failure_rate
from sfjax.metrics.performance import accuracy, balanced_accuracy
from sfjax.metrics.risk_coverage import (
    RiskCoverageCurve,
    augrc,
    aurc,
    coverage_at_risk,
    eaugrc,
    eaurc,
    risk_at_coverage,
    risk_coverage_curve,
)

__all__ = [
    "Interval",
    "RiskCoverageCurve",
    "accepted_failure_rate",
    "accuracy",
    "augrc",
    "aurc",
    "auroc_f",
    "balanced_accuracy",
    "bootstrap_metrics",
    "coverage_at_risk",
    "eaugrc",
    "eaurc",
    "fpr_at_95tpr",
    "percentile_interval",
    "resample_weights",
    "risk_at_coverage",
    "risk_coverage_curve",
    "silent_failure_rate",
]
