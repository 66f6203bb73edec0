"""Language models with fewer blocks, neurons, heads or channels, which their stock class loads."""

from autoprune.llm.structured.base import Calibration, Outcome, Structured

__all__ = ["Calibration", "Outcome", "Structured"]
