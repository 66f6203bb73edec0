"""What a budget may be on: a class a kind, which prices policies, judges finished networks and writes its figures."""

from autoprune.cost.metrics.base import MeteredEnergy, Metric, Pricing, Session, Timing, Verdict
from autoprune.cost.metrics.registry import METRICS, metric_of

__all__ = ["METRICS", "MeteredEnergy", "Metric", "Pricing", "Session", "Timing", "Verdict", "metric_of"]
