"""The study learns from what was executed, quietly."""

import logging
import warnings

import optuna
import pytest

from autoprune.agents import run_search
from autoprune.agents.optuna_search import SAMPLERS, OptunaAgent
from autoprune.envs import toy
from autoprune.errors import InputError


def test_the_study_holds_the_executed_points_and_their_rewards():
    t = toy(4)
    agent = OptunaAgent(t.env(), episodes=15, warmup=5)
    records = run_search(agent, 15, lambda _: None)
    complete = [trial for trial in agent.study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    assert [trial.value for trial in complete] == [record.reward for record in records]
    for trial, record in zip(complete, records, strict=True):
        assert t.space.choices([trial.params[name] for name in t.space.names]) == record.choices


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_plays_repeats_and_resumes(sampler):
    def fresh():
        return OptunaAgent(toy(3).env(), episodes=12, warmup=4, seed=2, sampler=sampler)

    whole = run_search(fresh(), 12, lambda _: None)
    first, second = fresh(), fresh()
    run_search(first, 8, lambda _: None)
    second.load_state_dict(first.state_dict())
    resumed = run_search(second, 12, lambda _: None, rows=first.history)
    assert [r.choices for r in resumed] == [r.choices for r in whole]
    assert [t.number for t in first.study.trials] == [t.number for t in second.study.trials][: len(first.study.trials)]
    assert len({tuple(r.choices.values()) for r in whole[4:]}) > 1


def test_optuna_says_nothing_and_its_settings_stay(caplog, capfd):
    level, filters = optuna.logging.get_verbosity(), list(warnings.filters)
    with caplog.at_level(logging.DEBUG):
        run_search(OptunaAgent(toy(3).env(), episodes=8, warmup=2), 8, lambda _: None)
    assert not [record for record in caplog.records if record.name.startswith("optuna")]
    assert capfd.readouterr().err == ""
    assert (optuna.logging.get_verbosity(), list(warnings.filters)) == (level, filters)


def test_unknown_samplers_are_refused():
    with pytest.raises(InputError, match="did you mean 'tpe'"):
        OptunaAgent(toy(2).env(), episodes=4, sampler="tpee")
    with pytest.raises(InputError, match="slack"):
        OptunaAgent(toy(2).env(), episodes=4, slack=1.5)
