"""Methods by name; imported when they are asked for, and open to other packages."""

from __future__ import annotations

from autoprune.foundations.registry import Registry
from autoprune.pipeline.jobs.dynamic.methods.base import Method

__all__ = ["METHODS"]

_HOME = "autoprune.pipeline.jobs.dynamic.methods"

METHODS: Registry[type[Method]] = Registry(
    "method",
    {"exits": f"{_HOME}.exits:Exits", "switch": f"{_HOME}.switch:Switch", "skip": f"{_HOME}.skip:Skip"},
    "autoprune.dynamic_methods",
)
