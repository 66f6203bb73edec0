"""One study of two objectives covers the whole range from the budget to the dense network."""

import pytest

from autoprune import agents
from autoprune.agents import best, run_search
from autoprune.agents.limits import limit_of
from autoprune.agents.optuna_search import OptunaAgent, OptunaSettings
from autoprune.envs import toy
from autoprune.errors import InputError
from autoprune.testing.agent import EPISODES, WARMUP, AgentTests


class TestFront(AgentTests):
    """The kit, but for what holds for one limit alone."""

    agent = OptunaAgent

    def make(self, *, seed=0, env=None, **options):
        settings = OptunaSettings(front=True)
        return OptunaAgent(
            env or toy(4).env(), episodes=EPISODES, warmup=WARMUP, seed=seed, settings=settings, **options
        )

    def test_every_episode_is_within_the_limit_and_priced_as_logged(self):
        t = toy(4)
        agent = self.make(env=t.env())
        for record in self.play(agent)[0]:
            assert record.predicted_cost == t.cost.cost(record.choices)
            assert record.predicted_cost <= limit_of(record.episode, t.cost, t.limit)
            assert agent.study.trials[record.episode].values == [record.reward, record.predicted_cost]

    # What these compare with holds for one limit alone.
    test_tight_and_loose_budgets = None
    test_costs_without_order_are_kept_too = None
    test_a_single_decision_is_enough = None
    test_the_search_never_ends_below_what_it_was_given = None


def test_the_limits_are_spread_evenly_at_any_time():
    t = toy(4)
    shares = [(limit_of(k, t.cost, t.limit) - t.limit) / (t.cost.dense - t.limit) for k in range(32)]
    assert shares[:5] == pytest.approx([0, 0.5, 0.25, 0.75, 0.125])
    assert sorted(shares) == pytest.approx([k / 32 for k in range(32)])
    least = t.cost.least()[0]
    assert limit_of(0, t.cost, float("inf")) == least < limit_of(1, t.cost, float("inf")) < t.cost.dense
    assert limit_of(3, t.cost, 2 * t.cost.dense) == t.cost.dense


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3", "tpe"])
def test_a_front_search_comes_near_the_optimum_at_every_cost(sampler):
    t = toy(5)
    agent = OptunaAgent(t.env(), episodes=150, settings=OptunaSettings(sampler, front=True))
    records = run_search(agent, 150, lambda _: None)
    for share in (0.5, 0.65, 0.8):
        there = toy(5, keep=share)
        found = best([r for r in records if r.predicted_cost <= there.limit])[0].accuracy
        uniform = there.score(
            agents.best(run_search(agents.get("uniform")(there.env(), episodes=1), 1, print))[0].choices
        )
        optimum = there.optimum()[0]
        assert uniform < found <= optimum
        assert optimum - found < 0.5 * (optimum - uniform)


def test_who_searches_no_front_is_refused():
    assert agents.options_of("optuna", front=True)["settings"].chosen_sampler == "nsga2"
    assert agents.options_of("optuna@sampler=nsga3", front=True)["settings"] == OptunaSettings("nsga3", front=True)
    with pytest.raises(InputError, match=r"--front needs an agent .* not random"):
        agents.options_of("random", front=True)
    assert agents.options_of("ddpg@sigma=0.1", front=True)["settings"].front
    with pytest.raises(InputError, match="one objective"):
        agents.options_of("optuna@sampler=cmaes", front=True)
