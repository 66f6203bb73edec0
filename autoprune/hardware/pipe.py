"""`PipeTarget` for classes from outside: the code lies in `autoprune.hardware.targets.pipe`."""

from autoprune.hardware.targets.pipe import PipeTarget

__all__ = ["PipeTarget"]
