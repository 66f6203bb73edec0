"""The chip as first decisions of an episode: the mask holds, the cost is that of the chip that was chosen."""

from __future__ import annotations

import itertools

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import autoprune.envs
from autoprune.agents import AGENTS, run_search
from autoprune.cost.chips import BestChip, ChosenChip
from autoprune.errors import BudgetError, InputError
from tests.support.random_chips import every_policy, random_tables

KNOBS = {"pe.count": (2, 4, 8), "pe.fifo": (2, 8)}
CHIPS = [dict(zip(KNOBS, values, strict=True)) for values in itertools.product(*KNOBS.values())][:5]  # one is missing


def made(limit: float = np.inf, objective: str = "edp", **settings):
    tables = random_tables(4, chips=5)
    scores = []

    def score(choices):
        scores.append(choices)
        return min(1.0, sum(choices.values()) / 27)

    env = gymnasium.make(
        "autoprune/Codesign-v0", tables=tables, knobs=KNOBS, chips=CHIPS, objective=objective, limit=limit,
        score=score, **settings,
    )  # fmt: skip
    return env, tables, scores


def test_costs_are_those_of_the_chosen_chip() -> None:
    tables = random_tables(4, chips=5)
    cost, best = ChosenChip(tables, KNOBS, CHIPS, "edp"), BestChip(tables, "edp")
    policies = every_policy()
    by_chip = {}
    for number, chip in enumerate(CHIPS):
        knobs = [KNOBS[path].index(chip[path]) for path in KNOBS]
        full = np.hstack([np.tile(knobs, (len(policies), 1)), policies])
        alone = BestChip(tables.only([number]), "edp")
        by_chip[number] = cost.costs(full)
        fits = alone.costs(policies) < alone.ceiling
        assert by_chip[number][fits] == pytest.approx(alone.costs(policies)[fits])
        assert (by_chip[number][~fits] > by_chip[number][fits].max(initial=0)).all()
        assert (cost.chip_of(full) == number).all()
    least = np.min(list(by_chip.values()), axis=0)
    fits = best.costs(policies) < best.ceiling
    assert least[fits] == pytest.approx(best.costs(policies)[fits])  # the best response is the least of all chips
    missing = np.hstack([np.tile([2, 1], (len(policies), 1)), policies])
    assert (cost.costs(missing) > best.ceiling).all() and (cost.chip_of(missing) == -1).all()


@pytest.mark.parametrize("agent", ["random", "ddpg", "optuna"])
def test_agents_choose_a_chip_and_stay_within_the_limit(agent: str) -> None:
    tables = random_tables(4, chips=5)
    prices = BestChip(tables, "edp").costs(every_policy())
    limit = float(np.quantile(prices, 0.4))
    env, _, scores = made(limit)
    records = run_search(AGENTS.get(agent)(env, episodes=6), 6, lambda record: None)
    cost = env.unwrapped.cost
    for record in records:
        assert record.predicted_cost <= limit
        row = cost.space.indices(record.choices)[None]
        number = int(cost.chip_of(row)[0])
        assert (
            number >= 0 and {path: KNOBS[path][record.choices[f"chip {path}"] - 1] for path in KNOBS} == CHIPS[number]
        )
    assert all(set(choices) == set(tables.space.names) for choices in scores)
    assert len({tuple(choices.values()) for choices in scores}) == len(scores)  # a chip is not scored again


def test_the_environment_keeps_gymnasiums_contract() -> None:
    env, tables, _ = made(float(np.median(BestChip(random_tables(4, chips=5), "edp").costs(every_policy()))))
    check_env(env.unwrapped, skip_render_check=True)
    observation, _ = env.reset()
    for _ in range(2 + len(tables.space)):
        observation, reward, done, _, info = env.step(np.array([0.0], dtype=np.float32))
        assert env.observation_space.contains(observation)
    assert done and info["cost"] <= env.unwrapped.limit and reward == info["reward"]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="need the knobs of as many, not of 4"):
        ChosenChip(random_tables(4, chips=5), KNOBS, CHIPS[:4], "edp")
    with pytest.raises(InputError, match=r"the knob pe.fifo has the values 2, 8; a chip has 3"):
        ChosenChip(random_tables(4, chips=5), KNOBS, [*CHIPS[:4], {"pe.count": 2, "pe.fifo": 3}], "edp")
    with pytest.raises(BudgetError, match="no chip takes"):
        made(area=0.1)
    with pytest.raises(InputError, match="CodesignEnv has no 'curves'"):
        autoprune.envs.CodesignEnv(random_tables(4), KNOBS, CHIPS, "edp", 1.0, lambda c: 1.0, curves=None)
