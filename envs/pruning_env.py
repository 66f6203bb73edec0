"""The pruning environment: one decision a step, inside a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from autoprune.cost import CostModel, FeasibleActions
from autoprune.envs.curves import Curves
from autoprune.envs.memory import Score, ScoreMemory
from autoprune.envs.observation import static_columns, width_features
from autoprune.envs.rewards import ResourceConstrained, Reward
from autoprune.errors import InputError
from autoprune.run.score import ACCURACY, ScoreSpec
from autoprune.space import Decision, SearchSpace

__all__ = ["Outcome", "PruningEnv", "action_for"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Outcome:
    """What a finished episode came to.

    Attributes:
        choices: Kept units by decision, as executed.
        score: Of the pruned network, in its own unit; accuracy is a fraction.
        cost: Predicted, in the cost model's unit.
        reward: As returned by the last step.
        repeated: Whether the policy had been scored before, so that nothing was evaluated.
        share: Of the images that the score was taken on; below 1 it is the estimate of a policy that was given up.
    """

    choices: dict[str, int]
    score: float
    cost: float
    reward: float
    repeated: bool
    share: float = 1.0


class PruningEnv(gymnasium.Env[Array, Array]):
    """Shrinks a network decision by decision, as in AMC (He et al., ECCV 2018), id `autoprune/Pruning-v0`.

    ## Action
    `Box(-1, 1, (1,), float32)`. With action a, the current decision keeps the share (a + 1) / 2 of its units, rounded
    to the nearest option (the wider one on a tie) from which the budget can still be met. Values outside are clipped.
    A decision on a block keeps it from a share of 1/2 on. A decision within a dropped block changes nothing: it is
    executed as dense whatever is asked for, so that equal networks have equal choices.

    ## Observation
    `Box(float32)` with k + 5 columns; k = 6 with `amc_features`, which gives AMC's 11. It describes the decision to
    take *next*; after the last one the static columns are 0.

    | index | meaning | range | unit before scaling |
    |---|---|---|---|
    | 0 | index of the decision | [0, 1] | static: min-max over the decisions |
    | 1 | output channels n of the group's first producer | [0, 1] | static; channels |
    | 2 | its input channels c | [0, 1] | static; channels |
    | 3 | height h of its input | [0, 1] | static; pixels |
    | 4 | width w of its input | [0, 1] | static; pixels |
    | 5 | its stride | [0, 1] | static; pixels |
    | 6 | its kernel size k | [0, 1] | static; pixels |
    | 7 | dense cost of the entries that this decision owns | [0, 1] | static; the cost's unit |
    | 8 | cost removed so far | [-1, 1] | share of the dense cost |
    | 9 | dense cost that later decisions own | [0, 1] | share of the dense cost |
    | 10 | last executed action, as the share of units kept; 1 at the start | [0, 1] | share |
    | 11 | with `shows_limit`: what the policy may cost | [0, 1] | share of the dense cost |

    Without features, columns 1 to 6 are one column, the decision's width. Under several budgets at once (`JointCost`)
    columns 7, and 8 with 9, are there once for each. `removed` is negative where a narrower
    layer is slower; it is clipped at -1.

    ## Info
    After `reset` and every step: `choices` (kept units so far, by decision) and `accounting` (`removed`, `kept`,
    `current`, `rest` in the cost's unit; their sum is the dense cost at every step, and `rest` is 0 at the last
    decision; of several budgets, those of the first). After a step also `decision`, `kept` (units) and
    `executed_action` (the action that asks for exactly what was executed: this belongs into a replay buffer). After
    the last step also `accuracy` (of another score `score`), `cost`, `reward`.

    ## Reward
    0 before the end; then `reward(merit, cost)`, by default `-error = accuracy - 1`. The merit of a score that is to be
    minimised is minus the score: here, and nowhere else, its direction is turned into "larger is better".

    ## Start and end
    Starts dense, with nothing decided. Terminates after the last decision; never truncates. Deterministic: the same
    actions give the same episode. A policy that was scored before is not evaluated again.

    ## Versions
    v0: the first.

    Args:
        space: The decisions, in forward order.
        cost: Prices policies of `space`.
        limit: What a policy may cost at most, in the cost's unit; `math.inf` for a search without a budget. An episode
            can have another one: `reset(options={"limit": ...})`.
        score: Of a policy (kept units by decision), accuracy as a fraction; called once at the end of an episode,
            unless the policy is known. Must be deterministic, and picklable if the environment is to be pickled.
        features: Static features of the decisions, shape (D, k), not scaled, as from `amc_features`.
        reward: What an episode is worth.
        scored_as: What `score` is.
        shows_limit: Whether the episode's limit is a column of the observation, for an agent that is trained on
            several; where it is always the same, it says nothing.
        curves: What each decision loses when it alone is cut, for agents that compute policies from it; None if nothing
            was measured.
        energy: What policies take of it beside the budget, for agents that weigh it; None if nothing is known.

    Raises:
        BudgetError: If no policy meets the limit.
        InputError: If `cost` prices another space, `features` has another shape, or the reward cannot be computed.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # declared so by gymnasium

    def __init__(
        self,
        space: SearchSpace,
        cost: CostModel,
        limit: float,
        score: Score,
        features: NDArray[np.float64] | None = None,
        reward: Reward | None = None,
        scored_as: ScoreSpec = ACCURACY,
        curves: Curves | None = None,
        shows_limit: bool = False,
        energy: CostModel | None = None,
    ) -> None:
        if cost.space.decisions != space.decisions:
            raise InputError("the cost model prices another search space than the environment's")
        self.space = space
        self.cost = cost
        self.limit = float(limit)
        self.feasible = FeasibleActions(cost, limit)
        self.fallback = self.feasible.known_policy
        self.memory = score if isinstance(score, ScoreMemory) else ScoreMemory(score)
        self.reward = ResourceConstrained() if reward is None else reward
        self.reward.check(cost)
        self.scored_as = scored_as
        self.shows_limit = shows_limit
        self.curves = curves
        self.energy = energy
        self.outcome: Outcome | None = None
        self._static = static_columns(space, cost, width_features(space) if features is None else features)
        self._share = 1.0
        self._dense = [float(part.costs(space.indices({})[None])[0]) or 1.0 for part in cost.parts]
        columns, parts = self._static.shape[1], len(cost.parts)
        low = np.zeros(columns + 2 * parts + 1 + shows_limit, dtype=np.float32)
        low[columns : columns + 2 * parts : 2] = -1.0
        self.observation_space = gymnasium.spaces.Box(low, np.ones_like(low), dtype=np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start an episode: nothing is decided yet. There is no randomness.

        Args:
            seed: Of no effect.
            options: `limit`: what this episode's policy may cost at most; the environment's own limit if not given.

        Raises:
            BudgetError: If no policy meets the limit.
            InputError: If there is another option.
        """
        super().reset(seed=seed, options=options)
        if unknown := sorted({*(options or {})} - {"limit"}):
            raise InputError(f"reset() has the option 'limit', not {unknown[0]!r}")
        self.feasible.reset((options or {}).get("limit", self.limit))
        self._share = 1.0
        return self._observe(), self._info()

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Take the current decision.

        Args:
            action: Shape (1,), in [-1, 1].

        Raises:
            InputError: If the episode is over or the action is not one finite number.
        """
        decision = self.decision
        option = self._nearest(action, self.allowed())
        self.feasible.take(option)
        kept = decision.options[option]
        self._share = kept / decision.width
        info = self._info()
        info |= {"decision": decision.name, "kept": kept, "executed_action": action_for(decision, kept)}
        done = self.feasible.step == len(self.space)
        reward = self._finish(info) if done else 0.0
        return self._observe(), reward, done, False, info

    def spend(self, action: Array, slack: float) -> Array:
        """The two-sided form of an action: rounded so that the budget can still be met, and still be spent.

        Left out are options after which the network would cost less than `limit * (1 - slack)` even if every later
        decision stayed whole. Where all options do that, the ones that come nearest remain.
        Without a budget there is nothing to spend, and the action is only rounded.

        Args:
            action: Shape (1,), in [-1, 1], for the current decision.
            slack: Share of the limit that may be left unspent; 1 leaves the action to the action mask alone.

        Returns:
            The action that asks for exactly the option chosen, shape (1,).
        """
        decision = self.decision
        allowed = self.allowed()
        reach = self._reach()
        limit = self.feasible.limit
        wanted = limit * (1 - slack) if np.isfinite(limit) else 0.0  # nothing to spend
        floor = min(wanted, float(reach[allowed].max()))
        option = self._nearest(action, allowed & (reach >= floor))
        return action_for(decision, decision.options[option])

    @property
    def decision(self) -> Decision:
        """The decision to take next.

        Raises:
            InputError: If the episode is over.
        """
        if self.feasible.step >= len(self.space):
            raise InputError("the episode is over; call reset() before the next step()")
        return self.space.decisions[self.feasible.step]

    def preview(self, choose: Callable[[Array], Array], limit: float) -> dict[str, int]:
        """The policy that an episode would end with, without scoring it; `reset` starts the episode itself.

        Args:
            choose: The action, shape (1,), of an observation; asked once a decision, in order.
            limit: What the policy may cost at most, in the cost's unit.

        Returns:
            Kept units by decision, as they would be executed.
        """
        observation, _ = self.reset(options={"limit": limit})
        for _ in range(len(self.space) - 1):
            observation = self.step(choose(observation))[0]
        decision = self.decision
        option = self._nearest(choose(observation), self.allowed())
        return self.space.canonical({**self._choices(), decision.name: decision.options[option]})

    def _nearest(self, action: Array, among: NDArray[np.bool_]) -> int:
        """Number of the option of the current decision, of those allowed, that is nearest to what is asked for."""
        values = np.asarray(action, dtype=np.float64).reshape(-1)
        if values.shape != (1,) or not np.isfinite(values[0]):
            raise InputError(f"an action is one finite number in [-1, 1], not {action!r}")
        decision = self.decision
        asked = (np.clip(values[0], -1.0, 1.0) + 1.0) / 2.0 * decision.width
        options = np.flatnonzero(among)
        distance = np.abs(np.asarray(decision.options)[options] - asked)
        return int(options[len(options) - 1 - np.argmin(distance[::-1])])

    def allowed(self) -> NDArray[np.bool_]:
        """The action mask over the options of the decision to take next, shape (options,); never none.

        Allowed is what can end within the limit; of a decision that changes nothing only the dense option.
        """
        allowed, decision = self.feasible.allowed(), self.decision
        if not decision.matters(self._choices()) and allowed[-1]:
            allowed[:-1] = False
        return allowed

    def _reach(self) -> NDArray[np.float64]:
        """Cost after each option of the current decision if all later ones stay whole, shape (options,)."""
        taken = self.space.indices(self._choices())
        rows = np.repeat(taken[None], len(self.decision.options), axis=0)
        rows[:, self.feasible.step] = np.arange(len(rows))
        return self.cost.costs(rows)

    def _finish(self, info: dict[str, Any]) -> float:
        choices = self.space.canonical(self._choices())
        repeated = choices in self.memory
        score = self.memory(choices)
        cost = self.cost.cost(choices)
        reward = float(self.reward(self.scored_as.merit(score), cost))
        self.outcome = Outcome(choices, score, cost, reward, repeated, self.memory.share(choices))
        info |= {self.scored_as.key: score, "cost": cost, "reward": reward}
        return reward

    def _choices(self) -> dict[str, int]:
        taken = zip(self.space.decisions, self.feasible.taken, strict=False)
        return {decision.name: decision.options[option] for decision, option in taken}

    def _info(self) -> dict[str, Any]:
        accounting = self.feasible.accounting
        names = ("removed", "kept", "current", "rest")
        return {"choices": self._choices(), "accounting": {name: getattr(accounting, name) for name in names}}

    def _observe(self) -> Array:
        step = self.feasible.step
        static = self._static[step] if step < len(self.space) else np.zeros_like(self._static[0])
        dynamic: list[float] = []
        for each, dense in zip(self.feasible.accountings, self._dense, strict=True):
            dynamic += [each.removed / dense, each.rest / dense]
        dynamic.append(self._share)
        if self.shows_limit:
            dynamic.append(min(self.feasible.limit / (self.cost.dense or 1.0), 1.0))
        observation = np.concatenate([static, np.asarray(dynamic, dtype=np.float32)])
        return np.asarray(observation.clip(self.observation_space.low, self.observation_space.high), dtype=np.float32)  # type: ignore[attr-defined]


def action_for(decision: Decision, kept: int) -> Array:
    """The action, shape (1,), that asks for exactly `kept` units of a decision."""
    return np.array([2.0 * kept / decision.width - 1.0], dtype=np.float32)
