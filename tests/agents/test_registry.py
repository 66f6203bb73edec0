"""Names, records and the choice of the best."""

import subprocess
import sys

import pytest

from autoprune import agents
from autoprune.agents import EpisodeRecord, best, default_warmup
from autoprune.agents.ddpg.settings import AMCSettings
from autoprune.agents.optuna_search import OptunaSettings
from autoprune.envs import toy
from autoprune.errors import InputError


def record(episode, choices, reward, cost=1.0):
    return EpisodeRecord(
        episode=episode,
        agent="random",
        choices=choices,
        accuracy=1 + reward,
        predicted_cost=cost,
        reward=reward,
        seconds=0.1,
        cached=False,
        warmup=False,
    )


def test_names_are_sorted_and_each_class_knows_its_own():
    assert list(agents.AGENTS) == sorted(agents.AGENTS)
    assert all(agents.get(name).name == name for name in agents.AGENTS)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'ddpg'"):
        agents.get("dddpg")


def test_settings_stand_behind_the_name():
    assert agents.get("optuna@sampler=cmaes") is agents.get("optuna")
    assert agents.options_of("optuna@sampler=cmaes+slack=0.1")["settings"] == OptunaSettings("cmaes", 0.1)
    assert agents.options_of("ddpg@batch-size=16")["settings"] == AMCSettings(batch_size=16)
    assert agents.options_of("optuna") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optuna@sampler=tpee", "did you mean 'tpe'"),
        ("optuna@sampl=tpe", "its settings are sampler, slack"),
        ("optuna@sampler", "each NAME=VALUE"),
        ("optuna@", "each NAME=VALUE"),
        ("optuna@slack=much", "slack"),
        ("optuna@slack=7", "slack must be in"),
        ("uniform@slack=0", "its settings are none"),
        ("ddpg@sigma=-1", "rates must be positive"),
        ("exact@time-limit=0", "time_limit must be positive"),
        ("evolution@population=0", "population and sample must be at least 1"),
        ("greedy@slack=0", "its settings are none"),
    ],
)
def test_wrong_settings_are_refused(text, message):
    with pytest.raises(InputError, match=message) as error:
        agents.options_of(text)
    assert text in str(error.value)


def test_settings_reach_the_agent_and_their_defaults_do_without_any():
    for name, setting in (
        ("ddpg@sigma=0.3", "sigma"),
        ("exact@time-limit=7", "time_limit"),
        ("evolution@sample=3", "sample"),
    ):
        kind, env = agents.get(name), toy().env()
        own = kind(env, episodes=4, **agents.options_of(name))
        assert getattr(own.settings, setting) == float(name.partition("=")[2])
        assert kind(env, episodes=4).settings == kind.settings_class() != own.settings
    assert agents.get("greedy")(toy().env(), episodes=4).settings is None


def test_all_exports_resolve():
    assert agents.__all__ == sorted(agents.__all__, key=lambda n: (n.upper() != n, n.lower() == n, n))
    for name in agents.__all__:
        assert getattr(agents, name) is not None
    with pytest.raises(AttributeError):
        agents.nothing  # noqa: B018


def test_listing_agents_imports_nothing_heavy():
    code = "import sys, autoprune.agents; print(sorted({'torch', 'optuna', 'stable_baselines3'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_best_is_by_reward_then_cost_then_age_and_each_policy_counts_once():
    rows = [
        record(0, {"a": 1}, -0.3),
        record(1, {"a": 2}, -0.1, cost=2.0),
        record(2, {"a": 3}, -0.1, cost=1.0),
        record(3, {"a": 3}, -0.1, cost=1.0),
    ]
    assert [r.episode for r in best(rows, 5)] == [2, 1, 0]
    assert [r.episode for r in best(rows)] == [2]


def test_a_record_survives_json_and_nonsense_does_not():
    import json

    row = record(3, {"a": 3}, -0.1 / 3)
    assert EpisodeRecord.from_row(json.loads(json.dumps(row.to_row()))) == row
    for bad in (None, [], {}, row.to_row() | {"reward": float("nan")}, row.to_row() | {"extra": 1}):
        with pytest.raises(InputError, match="not a row"):
            EpisodeRecord.from_row(bad)


def test_warmup_is_a_quarter_and_at_most_a_hundred():
    assert [default_warmup(n) for n in (1, 40, 300, 800)] == [0, 10, 75, 100]
