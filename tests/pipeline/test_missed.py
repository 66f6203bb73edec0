"""A finished network misses its budget: another policy is chosen; when none is left, what was measured is told."""

import pytest

import autoprune
from autoprune.errors import BudgetError
from autoprune.pipeline.jobs import compress as jobs
from tests.support.listener import Heard
from tests.support.verdicts import missed


@pytest.fixture
def compress(trained, loaders, monkeypatch):
    monkeypatch.setattr("tests.support.tiny_job._chance", lambda _: 0.0)  # layers add up

    def call(**settings):
        settings = {"budget": "latency<=80%", "finetune_epochs": 0, "episodes": 6, "finalists": 2, **settings}
        return autoprune.compress(
            trained, **loaders, target="tests.support.tiny_job:Formula", granularity=1, **settings
        )

    return call


@pytest.fixture
def misses(monkeypatch):
    """Make the first so many finished networks measure 5 % above the limit; returns the policies that were timed."""

    def arrange(number):
        real, timed = jobs.verify, []

        def verify(problem, choices, *more):
            timings, verdicts = real(problem, choices, *more)
            timed.append(dict(choices))
            return timings, missed(verdicts, 1.05) if len(timed) <= number else verdicts

        monkeypatch.setattr(jobs, "verify", verify)
        return timed

    return arrange


@pytest.mark.parametrize("agent", ["uniform", "random", "optuna"])
def test_another_policy_is_chosen_that_is_narrower(compress, misses, agent):
    timed, talk = misses(1), Heard()
    result = compress(agent=agent, talk=talk)
    assert len(timed) == 2 and timed[1] != timed[0]
    assert result.policy.choices == timed[1]
    assert result.report["budget"]["measured"] <= result.report["budget"]["limit"] / 1.05
    assert any("takes 105.0% of the budget as measured" in said for said in talk.said)


def test_the_uniform_agent_s_next_policy_is_uniform_too(compress, misses):
    timed = misses(1)
    result = compress(agent="uniform")
    shares = {name: kept / result.report["decisions"][name] for name, kept in timed[1].items()}
    assert max(shares.values()) - min(shares.values()) <= 1 / 8  # one unit of the narrowest layer


def test_a_network_that_missed_does_not_come_back_as_the_uniform_baseline(compress, misses, monkeypatch):
    monkeypatch.setattr(jobs, "tournament", lambda problem, finalists, *_: (finalists[-1], []))  # the last is uniform
    timed = misses(2)
    compress(agent="random", budget="latency<=95%")
    assert len(timed) == 3 and timed[0] not in timed[1:] and timed[1] != timed[2]


def test_after_the_last_try_the_measured_figure_is_told(compress, misses):
    timed = misses(9)
    with pytest.raises(BudgetError, match=r"missed as measured by 3 fine-tuned networks in turn, the last at .* ms"):
        compress(agent="random")
    assert len(timed) == 3


@pytest.mark.parametrize("agent", ["uniform", "random"])
def test_where_nothing_narrower_is_left_the_user_s_budget_and_what_was_measured_are_named(compress, misses, agent):
    least = compress(budget="latency<=100%", agent="uniform").report["dense"]["latency_ms"]
    with pytest.raises(BudgetError, match="cannot be met") as refused:
        compress(budget="latency<=1%", agent=agent)
    reachable = refused.value.least / least
    misses(9)
    with pytest.raises(BudgetError, match=r"latency<=.*missed as measured by the fine-tuned network at") as caught:
        compress(budget=f"latency<={100 * reachable * 1.02:.4f}%", agent=agent)
    assert caught.value.least == pytest.approx(1.05 * 1.02 * refused.value.least, rel=1e-3)


def test_when_no_finalist_passes_the_least_that_was_measured_is_told(compress, monkeypatch):
    from autoprune.pipeline.jobs import search

    real = search.prepare

    def strict(*arguments):
        problem = real(*arguments)
        problem.state.margin = 0.2
        return problem

    monkeypatch.setattr(search, "prepare", strict)
    with pytest.raises(BudgetError, match="could not be met as measured on formula; the least measured is") as caught:
        compress(agent="random")
    assert caught.value.least > 0


def test_after_a_miss_finalists_must_leave_as_much_as_the_last_session_took_longer(compress, misses, monkeypatch):
    asked, real = [], jobs.within_budget

    def within_budget(problem, *arguments, **more):
        asked.append(problem.state.margin)
        found = real(problem, *arguments, **more)
        assert all(max(candidate.shares.values()) <= problem.state.margin for candidate in found)
        return found

    monkeypatch.setattr(jobs, "within_budget", within_budget)
    misses(1)
    compress(agent="random")
    assert asked[0] == 0.99 and 0.9 <= asked[1] <= 0.99 * 0.99 / 1.05
