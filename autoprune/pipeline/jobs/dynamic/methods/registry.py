"""Methods by name; imported when they are asked for, and open to other packages."""

from __future__ import annotations

from autoprune.foundations.registry import Registry
from autoprune.pipeline.jobs.dynamic.methods.base import Method
from autoprune.run.experiment import Experiment

__all__ = ["JOINT", "METHODS", "method_of"]

_HOME = "autoprune.pipeline.jobs.dynamic.methods"

JOINT = "exits with widths"
"""The method of `--kinds channels,exit`."""

METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        JOINT: "autoprune.pipeline.jobs.dynamic.joint.prepared:Joint",
        "exits": f"{_HOME}.exits:Exits",
        "switch": f"{_HOME}.switch:Switch",
        "skip": f"{_HOME}.skip:Skip",
        "gate": f"{_HOME}.gate:Gate",
    },
    "autoprune.dynamic_methods",
)


def method_of(experiment: Experiment) -> Method:
    """The method of a run: the one that is named, or where kinds of decisions are, exits together with these."""
    return METHODS.get(JOINT if experiment.kinds else experiment.method)()
