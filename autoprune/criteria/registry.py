"""Criteria by name; other packages name theirs in the entry points `autoprune.criteria`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoprune.foundations.references import is_reference, resolve
from autoprune.foundations.registry import Registry

if TYPE_CHECKING:  # names are listed without torch
    from autoprune.criteria.base import Criterion

__all__ = ["CRITERIA", "criterion_of"]

CRITERIA: Registry[type[Criterion]] = Registry(
    "criterion",
    {
        "l1": "autoprune.criteria.norm:L1",
        "l2": "autoprune.criteria.norm:L2",
        "gradient": "autoprune.criteria.gradients:Gradient",
        "taylor": "autoprune.criteria.gradients:Taylor",
        "fisher": "autoprune.criteria.gradients:Fisher",
        "wanda": "autoprune.criteria.wanda:Wanda",
        "activation": "autoprune.criteria.activations:ActivationMeanSquare",
        "apoz": "autoprune.criteria.activations:AverageNonZeros",
        "bn_scale": "autoprune.criteria.batch_norm:BatchNormScale",
        "fpgm": "autoprune.criteria.geometric_median:GeometricMedian",
        "lasso": "autoprune.criteria.lasso:Lasso",
        "random": "autoprune.criteria.random:Random",
    },
    "autoprune.criteria",
)


def criterion_of(name: str) -> Criterion:
    """The criterion of a name, or of `package.module:Class`.

    Raises:
        InputError: If there is none; the nearest name is given.
    """
    made: Criterion = (resolve(name, "--criterion") if is_reference(name) else CRITERIA.get(name))()
    return made
