"""Repairing a cut network without training."""
