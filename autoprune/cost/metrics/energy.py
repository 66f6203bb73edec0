"""Energy of one call: measured where the target has a sensor, else modelled and labelled so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from autoprune.cost.additive import AdditiveCost
from autoprune.cost.metrics.base import Metric, Pricing, Session, Verdict, analysed

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PLANNED_SHARE", "Energy"]

PLANNED_SHARE = 0.98
"""Share of a limit on measured energy that may be planned with: predictions miss by a few percent."""


class Energy(Metric):
    """Millijoules of one call. A share of a measured energy is one of the dense network's in the same session."""

    kind = "energy"
    unit = "mJ"
    label = "energy in mJ"
    key = "energy_mj"
    units: ClassVar[Mapping[str, float]] = {"mj": 1.0, "uj": 1e-3, "j": 1e3}
    example = "50% or 3mJ"
    always = True
    metered = True
    how = "modelled"
    prefixes = False

    def price(self, context: Pricing, *, budgeted: bool) -> AdditiveCost:
        """Fitted on what a sensor measured of other networks, where the budget is on energy and there is a sensor."""
        from autoprune.cost.energy import Coefficients, energy_cost, fit_energy

        start = Coefficients.modelled(context.precision)
        metered = context.metered_energy() if budgeted else None
        if metered is None or not metered.runs:
            if metered is not None:
                context.say(f"energy is modelled, not measured: {metered.source}")
            return energy_cost(context.analysis, context.space, start, batch=context.batch)
        cost = fit_energy(
            context.analysis,
            context.space,
            metered.runs,
            metered.source,
            coefficients=start,
            batch=context.batch,
            fused=context.fused,
        )
        off = [abs(cost.cost(choices) / mj - 1) for choices, mj in metered.held_out]
        context.say(
            f"energy is measured by {metered.source}: fitted on {len(metered.runs)} networks, error on"
            f" {len(off)} others {np.mean(off):.1%} (worst {max(off):.1%})"
        )
        return cost

    def count(self, network: nn.Module, example: Any, cost: AdditiveCost, batch: int) -> float:
        """By the model, with the coefficients of the search."""
        from autoprune.cost.energy import energy_of, require_energy

        energy = require_energy(cost)
        return energy_of(analysed(network, example), energy.coefficients, batch, energy.fused)

    def planned(self, limit: float, cost: AdditiveCost) -> float:
        """Less where a sensor has the last word."""
        return limit * PLANNED_SHARE if _has_sensor(cost) else limit

    def judge(self, session: Session) -> Verdict:
        """What the sensor measured, if it did, of this network and of the dense one; else by the model."""
        timing = session.timing
        if not _has_sensor(session.cost):
            return Verdict(session.counted(), session.limit, self.how)
        if timing.energy_mj is None or timing.dense_energy_mj is None:
            if session.final:
                session.say(
                    "the sensor gave no energy for the finished network: the budget is judged by the fitted model"
                )
            return Verdict(session.counted(), session.limit, self.how)
        limit = session.limit_of(timing.dense_energy_mj)
        return Verdict(timing.energy_mj, limit if session.final else PLANNED_SHARE * limit, "measured")


def _has_sensor(cost: AdditiveCost) -> bool:
    """Whether the cost was fitted on what a sensor measured."""
    from autoprune.cost.energy import require_energy

    return require_energy(cost).measured
