"""The least template: so many multiply-accumulates a cycle, whatever the zeros; weights in one memory."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from autoprune.hardware.accelerators import Accelerator, Cost


class Counting(Accelerator):
    """Multipliers that are always fed."""

    takes = ("dense",)

    template: Literal["counting"]
    multipliers: int = Field(ge=1)
    weights_kb: float = Field(gt=0)

    @property
    def lanes(self) -> int:
        return self.multipliers

    @classmethod
    def takes_pattern(cls, pattern):
        return pattern == "dense"

    def why_not(self, work):
        return None

    def _price(self, work):  # of one group; the base class adds groups up
        busy = float(work.weights * work.positions)
        cycles = work.macs / self.multipliers
        stalls = {"zero weights": cycles * self.multipliers - busy}
        return Cost(cycles, self.lanes, busy, stalls, {"weights": work.mask.size}, {"arithmetic": 0.2 * work.macs})

    def area(self) -> Mapping[str, float]:
        return {"arithmetic": 0.001 * self.multipliers, "weights": 0.0035 * self.weights_kb}

    def storage_kb(self):
        return {"weights_kb": self.weights_kb}

    def storage_bytes(self, work):
        return {"weights_kb": float(work.mask.size)}
