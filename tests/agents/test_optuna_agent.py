"""The study learns from what was executed, quietly, and is a file that others open."""

import logging
import warnings

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from autoprune import agents
from autoprune.agents import best, run_search
from autoprune.agents.optuna_search import SAMPLERS, OptunaAgent, OptunaSettings
from autoprune.cost import JointCost, Limited
from autoprune.envs import PruningEnv, toy
from autoprune.errors import InputError


def test_the_study_holds_the_executed_points_and_their_rewards():
    t = toy(4)
    agent = OptunaAgent(t.env(), episodes=15, warmup=5)
    records = run_search(agent, 15, lambda _: None)
    assert {trial.state for trial in agent.study.trials} == {optuna.trial.TrialState.COMPLETE}
    assert [trial.value for trial in agent.study.trials] == [record.reward for record in records]
    for trial, record in zip(agent.study.trials, records, strict=True):
        assert t.space.choices([trial.params[name] for name in t.space.names]) == record.choices


def content(study):
    """What a study knows of its trials, but for the time they took."""
    return [(t.number, t.state, t.params, t.values, t.user_attrs, t.system_attrs) for t in study.trials]


def opened(folder):
    """The study in a run's folder, as a dashboard opens it."""
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna-journal.log")))
    return optuna.load_study(study_name=folder.name, storage=storage)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_plays_repeats_and_resumes(sampler):
    def fresh():
        return OptunaAgent(toy(3).env(), episodes=12, warmup=4, seed=2, settings=OptunaSettings(sampler))

    whole = run_search(fresh(), 12, lambda _: None)
    first, second = fresh(), fresh()
    run_search(first, 8, lambda _: None)
    second.load_state_dict(first.state_dict())
    resumed = run_search(second, 12, lambda _: None, rows=first.history)
    assert [r.choices for r in resumed] == [r.choices for r in whole]
    assert content(second.study)[:8] == content(first.study)
    assert len({tuple(r.choices.values()) for r in whole[4:]}) > 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_under_several_budgets_the_study_knows_what_each_trial_takes_of_them(sampler, tmp_path):
    t = toy(3)
    limits = [Limited("flops<=50%", t.cost, t.limit), Limited("flops<=90%", t.cost, 0.9 * t.cost.dense)]
    cost = JointCost(limits)

    def fresh():
        env = PruningEnv(t.space, cost, 1.0, t.score)
        return OptunaAgent(env, episodes=9, warmup=3, settings=OptunaSettings(sampler))

    first, second, whole = fresh(), fresh(), fresh()
    first.keep_files_in(tmp_path)
    records = run_search(first, 6, lambda _: None)
    for trial, record in zip(first.study.trials, records, strict=True):
        shares = {each.name: each.cost.cost(record.choices) / each.limit for each in limits}
        assert trial.constraints == pytest.approx({name: share - 1 for name, share in shares.items()})
        assert max(trial.constraints.values()) <= 0
    assert [trial.constraints for trial in opened(tmp_path).trials] == [t.constraints for t in first.study.trials]
    second.load_state_dict(first.state_dict())
    after = run_search(second, 9, lambda _: None, rows=records)
    assert [r.choices for r in after] == [r.choices for r in run_search(whole, 9, lambda _: None)]


def test_optuna_says_nothing_and_its_settings_stay(caplog, capfd):
    level, filters = optuna.logging.get_verbosity(), list(warnings.filters)
    with caplog.at_level(logging.DEBUG):
        run_search(OptunaAgent(toy(3).env(), episodes=8, warmup=2), 8, lambda _: None)
    assert not [record for record in caplog.records if record.name.startswith("optuna")]
    assert capfd.readouterr().err == ""
    assert (optuna.logging.get_verbosity(), list(warnings.filters)) == (level, filters)


def test_unknown_samplers_are_refused():
    with pytest.raises(InputError, match="did you mean 'tpe'"):
        OptunaSettings("tpee")
    with pytest.raises(InputError, match="slack"):
        OptunaSettings(slack=1.5)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "gp"])
def test_samplers_learn_what_chance_does_not(sampler):
    t = toy(6, seed=6)
    chance = np.median([r.accuracy for r in run_search(agents.get("random")(t.env(), episodes=60), 60, lambda _: None)])
    records = run_search(OptunaAgent(t.env(), episodes=100, settings=OptunaSettings(sampler)), 100, lambda _: None)
    optimum = t.optimum()[0]
    assert np.mean([r.accuracy for r in records[-20:]]) > chance + 0.25 * (optimum - chance)
    assert optimum - best(records)[0].accuracy < 0.1 * (optimum - chance)


def test_the_journal_holds_every_trial_as_soon_as_it_is_finished(tmp_path):
    agent = OptunaAgent(toy(3).env(), episodes=8, warmup=3, settings=OptunaSettings("nsga2"))
    agent.keep_files_in(tmp_path)
    run_search(agent, 8, lambda record: same(tmp_path, agent, record.episode + 1))


def same(folder, agent, count):
    found = content(opened(folder))
    assert len(found) == count
    assert found == content(agent.study)[:count]


def test_a_journal_is_written_anew_on_resume(tmp_path):
    def fresh():
        return OptunaAgent(toy(3).env(), episodes=10, warmup=3, settings=OptunaSettings("nsga3"))

    first, second = fresh(), fresh()
    first.keep_files_in(tmp_path)
    rows = run_search(first, 7, lambda _: None)
    state = first.state_dict()
    (tmp_path / "optuna-journal.log").write_text('{"op_code": 4, "torn')
    second.load_state_dict(state)
    second.keep_files_in(tmp_path)
    assert content(opened(tmp_path)) == content(first.study)
    run_search(second, 10, lambda _: None, rows=rows)
    assert content(opened(tmp_path)) == content(second.study)
    assert len(second.study.trials) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["optuna-journal.log"]  # no lock stays


def test_a_journal_that_cannot_be_written_is_named(tmp_path):
    agent = OptunaAgent(toy(3).env(), episodes=8)
    with pytest.raises(InputError, match=r"optuna-journal\.log"):
        agent.keep_files_in(tmp_path / "missing")
