"""Short names of structured pruning for callers from outside: the code lies in `criteria` and `techniques`."""

from autoprune.techniques.structured.optimizer_state import slice_optimizer

__all__ = ["slice_optimizer"]
