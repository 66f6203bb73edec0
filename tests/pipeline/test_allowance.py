"""The time for timing: bounded before it begins, spent where a decision hangs on it."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from autoprune.hardware import Measurement, Target, measure
from autoprune.hardware.timing.effort import EFFORTS
from autoprune.hardware.timing.measure import uncertainty
from autoprune.pipeline import allowance
from autoprune.run.experiment import Experiment


def run(timing="normal", **seconds):
    """A run whose stopwatch shows so much."""
    return SimpleNamespace(experiment=Experiment(timing=timing), recall={"seconds": seconds}.get)


def test_a_short_job_has_two_minutes_in_all() -> None:
    """Thirty seconds went into the profile and ten into sessions; twice ten are set aside for the last word."""
    assert allowance.left(run(profile=30.0, train=60.0, search=20.0), 10.0) == pytest.approx(120 - 30 - 10 - 20)
    assert allowance.of_session(run(profile=30.0), 10.0, final=False) == pytest.approx(30.0)
    assert allowance.of_session(run(profile=30.0), 10.0, final=True) == pytest.approx(80.0)


def test_a_long_job_has_a_fifth() -> None:
    """An hour of training: 900 s are a fifth of 4500. What scoring took between two sessions is no timing."""
    long = run(profile=70.0, train=3000.0, finetune=600.0, verify=500.0)
    assert allowance.left(long, 130.0) == pytest.approx(900 - 70 - 130 - 20)


def test_when_nothing_is_left_the_last_word_is_still_spoken() -> None:
    spent = run(profile=100.0)
    assert allowance.left(spent, 60.0) == 0.0
    assert allowance.of_session(spent, 60.0, final=False) == allowance.of_session(spent, 60.0, final=True) / 2 == 10.0


def test_careful_has_no_bound_and_says_so() -> None:
    careful = run("careful", profile=5000.0)
    assert allowance.left(careful, 1e5) == allowance.of_profile(careful) == math.inf
    assert "as long as it takes" in allowance.announced(careful.experiment, math.inf)


def test_the_bound_is_announced() -> None:
    normal, seconds = run(), allowance.of_profile(run())
    assert seconds < 120.0
    line = allowance.announced(normal.experiment, seconds)
    assert (
        line == "timing normal: the profile takes 1:12 min at most, with verification 2:00 min or 20% of a longer job"
    )


class Scripted(Target):
    """A device whose passes are written down, with the seconds that each was given."""

    name = "scripted-passes"

    def __init__(self, passes) -> None:
        super().__init__()
        self.left, self.given = list(passes), []

    def available(self):
        return None

    def versions(self):
        return {"runtime": "script"}

    def pack(self, model, example):
        return json.dumps(None).encode()

    def time(self, payloads, protocol, progress=None):
        self.given.append(protocol.seconds)
        return [Measurement(ms, 0.0, 1, "script", True) for ms in self.left.pop(0)]


def timed(passes, undecided, timing="normal", seconds=60.0, *, final=False):
    target, said = Scripted(passes), []
    plan = EFFORTS[timing].plan(seconds, final=final)
    results = measure(
        [nn.Identity(), nn.Identity()],
        torch.zeros(1, 1),
        target,
        plan,
        progress=lambda done, total, what: said.append(what),
        undecided=undecided,
    )
    return results, target


def near(limit):
    """Undecided as long as the second network may be on either side of a share of the first."""

    def hangs(measured):
        share = measured[1].ms / measured[0].ms / limit - 1
        return "1 of 1" if abs(share) <= uncertainty(measured[1]) else None

    return hangs


FOUR = ((2.0, 1.0), (2.0, 1.001), (2.0, 1.0), (2.0, 1.0))


def test_two_processes_are_enough_for_a_network_far_from_the_limit() -> None:
    results, target = timed(FOUR, near(0.6))
    assert len(target.given) == 2 and results[1].conditions["passes"] == 2 and results[1].stable


def test_more_are_started_only_while_the_verdict_hangs_on_them() -> None:
    results, target = timed(FOUR, near(0.5))
    assert len(target.given) == 4 and results[1].conditions["passes"] == 4
    disagreeing = ((2.0, 1.0), (2.4, 1.3), (2.0, 1.0), (2.0, 1.0))  # a slow spell: nothing hangs on it at 80 %
    results, target = timed(disagreeing, near(0.8))
    assert len(target.given) == 2 and not results[1].stable


def test_a_first_look_takes_one_process() -> None:
    results, target = timed(FOUR, near(0.7), "quick")
    assert len(target.given) == 1 and "passes" not in results[1].conditions
    assert uncertainty(results[1]) == pytest.approx(0.03)  # another process may say otherwise
    assert len(timed(FOUR, near(0.51), "quick")[1].given) == 2


def test_careful_repeats_until_the_passes_agree() -> None:
    passes = [*((2.0 + 0.1 * k, 1.0) for k in range(5, 0, -1)), (2.0, 1.0), (2.0, 1.0), (9.0, 9.0)]
    _, target = timed(passes, None, "careful", math.inf, final=True)
    assert len(target.given) == 7 and target.given == [None] * 7


def test_the_seconds_are_shared_out_and_the_first_process_is_always_there() -> None:
    _, target = timed(FOUR, near(0.6), seconds=60.0)
    assert target.given[0] == pytest.approx(30.0, abs=0.5) and target.given[1] == pytest.approx(60.0, abs=1.0)
    results, target = timed(FOUR, near(0.5), seconds=0.0)
    assert target.given == [0.0] and results[0].conditions["passes"] == 1


def test_a_part_of_the_profile_shows_when_all_parts_end() -> None:
    """Of 100 s 40 are over: the part's bar counts its own units, and the words beside it say 1:00 min for all."""
    now = [10.0]
    seen = []
    shown = allowance.within(100.0, lambda done, total, what: seen.append((done, total, what)), lambda: now[0])
    now[0] = 50.0
    shown(3, 18, "layers")
    now[0] = 115.0
    shown(4, 18, "layers")
    assert seen == [(3, 18, "layers (all parts: 1:00 min at most)"), (4, 18, "layers")]
    allowance.within(math.inf, lambda *row: seen.append(row))(1, 2, "layers")
    assert seen[-1] == (1, 2, "layers")
