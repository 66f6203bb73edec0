"""Accelerators described by a YAML file, and what a network's layers cost on them: simulated, from the real masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoprune.foundations.lazy import lazy_names

if TYPE_CHECKING:
    from autoprune.hardware.accelerators.base import Accelerator
    from autoprune.hardware.accelerators.cost import Cost
    from autoprune.hardware.accelerators.files import load_accelerator, save_accelerator
    from autoprune.hardware.accelerators.importance import RowImportance, row_costs, row_importance
    from autoprune.hardware.accelerators.registry import CHIPS, TEMPLATES
    from autoprune.hardware.accelerators.workload.extraction import workload_of
    from autoprune.hardware.accelerators.workload.work import LayerWork, NotPriced, Workload

__all__ = [
    "CHIPS",
    "TEMPLATES",
    "Accelerator",
    "Cost",
    "LayerWork",
    "NotPriced",
    "RowImportance",
    "Workload",
    "load_accelerator",
    "row_costs",
    "row_importance",
    "save_accelerator",
    "workload_of",
]

_HOME = "autoprune.hardware.accelerators"

_HOMES = {
    "CHIPS": f"{_HOME}.registry",
    "TEMPLATES": f"{_HOME}.registry",
    "Accelerator": f"{_HOME}.base",
    "Cost": f"{_HOME}.cost",
    "LayerWork": f"{_HOME}.workload.work",
    "NotPriced": f"{_HOME}.workload.work",
    "RowImportance": f"{_HOME}.importance",
    "row_costs": f"{_HOME}.importance",
    "row_importance": f"{_HOME}.importance",
    "Workload": f"{_HOME}.workload.work",
    "load_accelerator": f"{_HOME}.files",
    "save_accelerator": f"{_HOME}.files",
    "workload_of": f"{_HOME}.workload.extraction",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
