"""Which metrics a run has of every score, and what each is of."""

from typing import Final

METRICS: Final = (
    "accuracy",
    "balanced_accuracy",
    "nll",
    "brier",
    "ece",
    "aurc",
    "eaurc",
    "augrc",
    "augrc_balanced",
    "auroc_f",
    "ap_error",
    "fpr_at_95tpr",
    "silent_failure_rate",
    "accepted_failure_rate",
)
COST_METRICS: Final = ("mean_cost", "aurc_cost", "augrc_cost", "silent_cost", "accepted_cost", "cost_correlation")
"""Added where failures have costs."""
OF_PROBABILITY: Final = frozenset({"ece", "silent_failure_rate", "silent_cost"})
"""Metrics of a probability of being right: only CSFs that have one have a row."""
OF_CLASS_PROBABILITIES: Final = frozenset({"nll", "brier"})
"""Metrics of the probabilities of all classes, likewise."""
RATES: Final = ("accuracy", "silent_failure_rate", "accepted_failure_rate")
"""Metrics that are shares of the images on which something happens."""
RANKED: Final = ("aurc", "augrc", "aurc_cost", "augrc_cost")
"""Metrics that CSFs are ranked by."""
ALWAYS: Final = ("accuracy", "aurc")
"""Metrics that a run has whichever it is asked for: no AURC stands without the accuracy beside it."""
ALL_DOMAINS: Final = "all"
