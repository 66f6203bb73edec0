"""The weights of the hardware-aware importance are searched, and planted ones are found."""

import numpy as np
import pytest

from autoprune import agents
from autoprune.agents import AgentState, run_search
from autoprune.agents.optuna_search.importance import ImportanceAgent
from autoprune.agents.solvers.greedy_steps import Prices
from autoprune.agents.solvers.least_important import least_important
from autoprune.cost import AdditiveCost, CostEntry
from autoprune.cost.importance import ImportanceWeights
from autoprune.envs import Curves, PruningEnv, toy


class Linear:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, widths):
        return self.factor * widths[:, 0].astype(float)


class Planted:
    """Accuracy falls with the distance from one policy, in shares of units."""

    def __init__(self, space, choices):
        self.space, self.choices = space, choices

    def __call__(self, choices):
        return 1.0 - float(
            np.mean([abs(choices[d.name] - self.choices[d.name]) / d.width for d in self.space.decisions])
        )


def energy_of(space, seed=3):
    factors = np.random.default_rng(seed).uniform(0.1, 10, size=len(space))
    entries = [CostEntry(d.name, (d.name,), Linear(f / d.width)) for d, f in zip(space.decisions, factors, strict=True)]
    return AdditiveCost("energy", "mJ", space, entries)


def planted(weights, seed=0):
    t = toy(8, options=8, seed=seed)
    energy = energy_of(t.space)
    rates = np.random.default_rng(seed + 9).exponential(size=len(t.space)) + 0.05
    curves = Curves(
        tuple(r * (1 - np.asarray(d.options) / d.width) ** 1.5 for r, d in zip(rates, t.space.decisions, strict=True))
    )
    goal = least_important(Prices(t.cost, curves), energy, weights, t.limit)
    return goal, lambda: PruningEnv(t.space, t.cost, t.limit, Planted(t.space, goal), curves=curves, energy=energy)


@pytest.mark.parametrize("weights", [(0.2, 1.0, 0.1), (1.0, 0.05, 0.4)])
def test_planted_weights_are_found(weights):
    goal, env = planted(ImportanceWeights(*weights))
    agent = ImportanceAgent(env(), episodes=80)
    records = run_search(agent, 80, lambda _: None)
    first = max(record.value for record in records[:5])  # the default, and each part alone
    found = max(record.value for record in records)
    assert found > 0.99 and found > first
    again = least_important(agent.prices, agent.env.energy, agent.best_weights, agent.env.limit)
    assert np.mean([again[name] == goal[name] for name in goal]) >= 0.75


def test_each_part_alone_removes_by_it():
    t = toy(4, options=8)
    curves, energy = Curves.assumed(t.space), energy_of(t.space)
    prices = Prices(t.cost, curves)
    policies = {
        weights: least_important(prices, energy, ImportanceWeights(*weights), t.limit)
        for weights in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    }
    for choices in policies.values():
        assert t.cost.cost(choices) <= t.limit
    assert len({tuple(choices.values()) for choices in policies.values()}) > 1
    least_loss = min(policies, key=lambda w: float(curves.of(t.space.indices(policies[w])[None])[0]))
    assert least_loss == (1, 0, 0)


def test_without_energy_gamma_is_zero_and_states_resume(tmp_path):
    def fresh():
        return ImportanceAgent(toy(4).env(), episodes=14, seed=1)

    whole = run_search(fresh(), 14, lambda _: None)
    first, second = fresh(), fresh()
    run_search(first, 9, lambda _: None)
    first.state_dict().save(tmp_path / "state.safetensors")
    second.load_state_dict(AgentState.load(tmp_path / "state.safetensors"))
    assert second.weights == first.weights and all(weights.gamma == 0 for weights in first.weights if weights)
    resumed = run_search(second, 14, lambda _: None)
    assert [r.choices for r in resumed] == [r.choices for r in whole]
    assert agents.get("importance") is ImportanceAgent
