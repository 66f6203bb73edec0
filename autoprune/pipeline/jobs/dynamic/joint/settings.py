"""The settings of the search for widths and exits."""

from __future__ import annotations

from autoprune.run.experiment import Experiment
from autoprune.space import EXIT

__all__ = ["static_kinds", "width_experiment"]


def static_kinds(experiment: Experiment) -> tuple[str, ...]:
    """What of the kinds of decisions a static network has."""
    return tuple(kind for kind in experiment.kinds if kind != EXIT.name)


def width_experiment(experiment: Experiment) -> Experiment:
    """The settings of the search for widths and exits, which has a run of its own below the one it is for."""
    folder = str(experiment.run_dir / "steps" / "joint")
    return experiment.replace(
        latency="100%",
        kinds=static_kinds(experiment),
        run=folder if "/" in folder else f"./{folder}",
    )
