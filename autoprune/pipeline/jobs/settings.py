"""Which settings each job reads; without torch, so that the command line can offer them quickly."""

from __future__ import annotations

from autoprune.run.experiment import Experiment, option_group

__all__ = ["OF_PROGRESSIVE", "OF_SEARCH", "PROGRESSIVE"]

PROGRESSIVE = "progressive"
"""The job's name; it has no agent, and its runs have this name where others name theirs."""

OF_SEARCH = tuple(name for name in Experiment.model_fields if option_group(name) != "Progressive")
"""Settings of the jobs in which an agent searches."""

_OF_AGENTS = (
    "agent",
    "episodes",
    "warmup",
    "fidelity",
    "finalists",
    "accuracy_drop",
    "schedule",
    "schedule_steps",
    "slim",
)

OF_PROGRESSIVE = tuple(name for name in Experiment.model_fields if name not in _OF_AGENTS)
"""Settings of progressive pruning, which has no agent."""
