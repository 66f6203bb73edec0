"""What every agent must do; a new agent in the registry is tested here without another line."""

import random

import numpy as np
import pytest
import torch

from autoprune import agents
from autoprune.agents import AgentState, EpisodeRecord, best, run_search
from autoprune.cost import AdditiveCost
from autoprune.envs import AccuracyGuaranteed, PruningEnv, largest_uniform, toy
from autoprune.errors import AutopruneError, InputError, RunError

EPISODES, WARMUP = 14, 5
STOCHASTIC = [name for name in agents.AGENTS if name != "uniform"]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(name, *, seed=0, env=None, episodes=EPISODES, **options):
    return agents.get(name)(env or toy(4).env(), episodes=episodes, warmup=WARMUP, seed=seed, **options)


def play(agent, rows=()):
    logged = []
    records = run_search(agent, EPISODES, logged.append, rows=rows)
    return records, logged


def rows_of(records):
    return [record.model_dump(exclude={"seconds", "cached"}) for record in records]


def plain(records):
    return [EpisodeRecord.from_row(record.to_row()) for record in records]


@pytest.mark.parametrize("name", agents.AGENTS)
def test_every_episode_is_within_the_limit_and_priced_as_logged(name):
    t = toy(4)
    records, logged = play(make(name, env=t.env()))
    assert records == logged
    assert [record.episode for record in records] == list(range(len(records)))
    for record in records:
        assert t.space.complete(record.choices) == record.choices
        assert record.predicted_cost == t.cost.cost(record.choices) <= t.limit
        assert record.accuracy == t.score(record.choices)
        assert record.reward == record.accuracy - 1
        assert record.agent == name
        assert record.warmup == (record.episode < min(WARMUP, len(records)))


@pytest.mark.parametrize("name", agents.AGENTS)
@pytest.mark.parametrize("keep", [0.1, 0.95])
def test_tight_and_loose_budgets(name, keep):
    t = toy(4, keep=max(keep, toy(4).cost.least()[0] / toy(4).cost.dense + 1e-9))
    records, _ = play(make(name, env=t.env()))
    assert all(t.cost.cost(record.choices) <= t.limit for record in records)


@pytest.mark.parametrize("name", agents.AGENTS)
def test_a_single_decision_is_enough(name):
    t = toy(1)
    records, _ = play(make(name, env=t.env()))
    assert best(records)[0].accuracy <= t.optimum()[0]


@pytest.mark.parametrize("name", agents.AGENTS)
def test_one_seed_one_search(name):
    first, second = play(make(name, seed=3))[0], play(make(name, seed=3))[0]
    assert rows_of(first) == rows_of(second)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_another_seed_another_search(name):
    first, second = play(make(name, seed=3))[0], play(make(name, seed=4))[0]
    assert [r.choices for r in first] != [r.choices for r in second]


@pytest.mark.parametrize("name", agents.AGENTS)
def test_global_generators_are_left_alone(name):
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002  # the global state is what is looked at
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    play(make(name))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    np.testing.assert_array_equal(np.random.get_state()[1], before[2])  # noqa: NPY002


@pytest.mark.parametrize("name", agents.AGENTS)
def test_global_generators_make_no_difference(name):
    reference, _ = play(make(name, seed=1))
    agent = make(name, seed=1)

    def disturb(_):
        torch.rand(3)
        random.random()
        np.random.rand(3)  # noqa: NPY002

    assert rows_of(run_search(agent, EPISODES, disturb)) == rows_of(reference)


@pytest.mark.parametrize("name", agents.AGENTS)
@pytest.mark.parametrize("stop", [0, 1, 5, 6, 9, 13])
def test_a_resumed_search_is_the_uninterrupted_one(name, stop, tmp_path):
    """Stopped after `stop` episodes and restored from a file, in a fresh environment that knows nothing."""
    whole, _ = play(make(name))
    first = make(name)
    head = run_search(first, min(stop, len(whole)), lambda _: None)
    first.state_dict().save(tmp_path / "state.safetensors")
    second = make(name)
    second.load_state_dict(AgentState.load(tmp_path / "state.safetensors"))
    records, logged = play(second, rows=plain(head))
    assert rows_of(records) == rows_of(whole)
    assert rows_of(logged) == rows_of(whole[len(head) :])
    assert second.env.memory.evaluations == sum(not record.cached for record in logged)


@pytest.mark.parametrize("name", agents.AGENTS)
@pytest.mark.parametrize(("saved", "stop"), [(None, 9), (4, 11), (7, 9)])
def test_rows_after_the_checkpoint_are_replayed_and_never_evaluated_again(name, saved, stop):
    whole, _ = play(make(name))
    stop = min(stop, len(whole))
    second = make(name)
    if saved is not None:
        first = make(name)
        run_search(first, min(saved, len(whole)), lambda _: None)
        second.load_state_dict(first.state_dict())
    records, logged = play(second, rows=plain(whole[:stop]))
    assert rows_of(records) == rows_of(whole)
    assert records[:stop] == whole[:stop]  # seconds and all: the rows that were logged
    assert rows_of(logged) == rows_of(whole[stop:])
    assert second.env.memory.evaluations == sum(not record.cached for record in whole[stop:])


@pytest.mark.parametrize("name", agents.AGENTS)
def test_a_lost_row_is_logged_again_from_the_state(name):
    first = make(name)
    head = run_search(first, min(6, EPISODES), lambda _: None)
    second = make(name)
    second.load_state_dict(first.state_dict())
    _, logged = play(second, rows=plain(head[:-1]))
    assert logged[0] == head[-1]


@pytest.mark.parametrize("name", agents.AGENTS)
def test_a_search_that_comes_out_differently_is_refused(name):
    whole, _ = play(make(name))
    wrong = whole[0].model_copy(update={"predicted_cost": whole[0].predicted_cost + 1})
    with pytest.raises(AutopruneError, match="came out differently"):
        play(make(name), rows=[wrong])


@pytest.mark.parametrize("name", agents.AGENTS)
def test_repeated_policies_are_scored_once(name):
    t = toy(2, options=3)
    calls = []

    def score(choices):
        calls.append(tuple(choices.values()))
        return t.score(choices)

    records, _ = play(make(name, env=PruningEnv(t.space, t.cost, t.limit, score)))
    assert len(calls) == len(set(calls)) == len({tuple(r.choices.values()) for r in records})
    assert [r.cached for r in records].count(False) == len(calls)


@pytest.mark.parametrize("name", agents.AGENTS)
def test_the_search_never_ends_below_what_it_was_given(name):
    t = toy(6, seed=5)
    uniform, optimum = largest_uniform(t.cost, t.limit), t.optimum()
    records, _ = play(make(name, env=t.env(), seed_policies=[uniform]))
    assert best(records)[0].accuracy >= t.score(uniform)
    assert records[0].choices == uniform
    if name != "uniform":
        records, _ = play(make(name, env=t.env(), seed_policies=[uniform, optimum[1]]))
        assert best(records)[0].accuracy == pytest.approx(optimum[0])


@pytest.mark.parametrize("name", agents.AGENTS)
def test_states_of_others_are_refused(name):
    state = make(name).state_dict()
    with pytest.raises(RunError, match="seed"):
        make(name, seed=1).load_state_dict(state)
    with pytest.raises(RunError, match="decisions"):
        make(name, env=toy(5).env()).load_state_dict(state)
    with pytest.raises(RunError, match="agent"):
        make("random" if name == "uniform" else "uniform").load_state_dict(state)


@pytest.mark.parametrize("name", agents.AGENTS)
def test_scalars_are_finite_numbers(name):
    agent = make(name)
    play(agent)
    assert all(np.isfinite(value) and isinstance(value, float) for value in agent.scalars().values())


@pytest.mark.parametrize("name", agents.AGENTS)
def test_bad_settings_and_wrong_episodes_are_refused(name):
    env = toy(2).env()
    for bad in ({"episodes": 0}, {"episodes": 5, "seed": -1}, {"episodes": 5, "warmup": -1}):
        with pytest.raises(InputError):
            agents.get(name)(env, **bad)
    with pytest.raises(InputError, match="next episode is 0"):
        agents.get(name)(env, episodes=5).episode(3)
    with pytest.raises(InputError, match="no decision"):
        agents.get(name)(env, episodes=5, seed_policies=[{"nowhere": 1}])


@pytest.mark.parametrize("name", agents.AGENTS)
def test_costs_without_order_are_kept_too(name):
    t = toy(4)
    rng = np.random.default_rng(0)
    cost = AdditiveCost(t.cost.kind, t.cost.unit, t.space, t.cost.entries)
    for term in cost.terms:
        term.table[...] = rng.permutation(term.table.ravel()).reshape(term.table.shape)
    limit = 0.5 * (cost.least()[0] + cost.dense)
    records, _ = play(make(name, env=PruningEnv(t.space, cost, limit, t.score)))
    assert all(cost.cost(record.choices) <= limit for record in records)


@pytest.mark.parametrize("name", agents.AGENTS)
def test_an_interrupted_episode_leaves_no_half_state(name):
    t = toy(4)
    interrupted = []

    def score(choices):
        if interrupted == [True]:
            raise KeyboardInterrupt
        return t.score(choices)

    agent = make(name, env=PruningEnv(t.space, t.cost, t.limit, score))
    if name != "uniform":
        agent.episode(0)
    interrupted.append(True)
    with pytest.raises(KeyboardInterrupt):
        agent.episode(agent.played)
    with pytest.raises(AutopruneError, match="interrupted"):
        agent.state_dict()


@pytest.mark.parametrize("name", STOCHASTIC)
def test_without_a_budget_the_whole_range_of_costs_is_explored(name):
    t = toy(4)
    reward = AccuracyGuaranteed(scale=100)
    records, _ = play(make(name, env=PruningEnv(t.space, t.cost, np.inf, t.score, reward=reward)))
    shares = [record.predicted_cost / t.cost.dense for record in records]
    assert max(shares) - min(shares) > 0.3
    for record in records:
        assert record.reward == pytest.approx((record.accuracy - 1) * np.log(100 * record.predicted_cost))
