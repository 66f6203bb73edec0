"""The pruning environment with the chip's knobs as its first decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.cost.chips import ChipTables, ChosenChip
from autoprune.envs.memory import Score
from autoprune.envs.pruning_env import PruningEnv
from autoprune.errors import InputError

__all__ = ["CodesignEnv"]


class CodesignEnv(PruningEnv):
    """Chooses a chip knob by knob, then what stays of each layer on it, id `autoprune/Codesign-v0`.

    ## Action
    `Box(-1, 1, (1,), float32)`, as in `autoprune/Pruning-v0`. Of a knob with n values the action a asks for value
    number (a + 1) / 2 * n, rounded to the nearest from which the limit can still be met: the weights have to fit into
    the memories of a chip within the area.

    ## Observation
    As in `autoprune/Pruning-v0` without features. Costs in it are those of the chip that suits the dense network best,
    so that knobs own none.

    ## Reward, start and end
    As in `autoprune/Pruning-v0`; the cost is that of the chosen chip, and the score does not depend on it.

    ## Versions
    v0: the first.

    Args:
        tables: Costs of every option of every layer on every chip.
        knobs: Path of a key (`pe.count`) -> its values, in the order in which they are decided.
        chips: Of each chip in the order of the tables the values of its knobs.
        objective: `latency`, `energy` or `edp`.
        limit: What a policy may cost, in the objective's unit.
        score: Of the layers' choices; a policy that differs in its chip alone is not evaluated again.
        area: Square millimetres that a chip may take.
        **keywords: As of `PruningEnv`: `reward`, `scored_as`, `shows_limit`.

    Raises:
        BudgetError: If no policy meets the limit, or no chip the area.
        InputError: If the chips' knobs do not fit the tables.
    """

    def __init__(
        self,
        tables: ChipTables,
        knobs: Mapping[str, Sequence[object]],
        chips: Sequence[Mapping[str, object]],
        objective: str,
        limit: float,
        score: Score,
        area: float = float("inf"),
        **keywords: Any,
    ) -> None:
        unknown = next((name for name in keywords if name not in ("reward", "scored_as", "shows_limit")), None)
        if unknown is not None:
            raise InputError(f"CodesignEnv has no {unknown!r}; it takes reward, scored_as and shows_limit")
        cost = ChosenChip(tables, knobs, chips, objective, area)
        self.layers = tables.space.names
        self._scores: dict[tuple[int, ...], float] = {}
        self._of_layers = score
        super().__init__(cost.space, cost, limit, self._scored, **keywords)

    def _scored(self, choices: Mapping[str, int]) -> float:
        own = {name: choices[name] for name in self.layers}
        key = tuple(own.values())
        if key not in self._scores:
            self._scores[key] = float(self._of_layers(own))
        return self._scores[key]
