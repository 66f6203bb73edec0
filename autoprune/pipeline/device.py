"""The target that an experiment names, with the options that its settings give."""

from __future__ import annotations

from autoprune.hardware import Target, get_target
from autoprune.run.experiment import Experiment

__all__ = ["target_of"]


def target_of(experiment: Experiment) -> Target:
    """The experiment's target, whether or not it works on this machine.

    Raises:
        InputError: If there is no such target, or it has no such option.
    """
    return get_target(
        experiment.target,
        threads=experiment.threads,
        precision=experiment.precision,
        memory_format=experiment.memory_format,
    )
