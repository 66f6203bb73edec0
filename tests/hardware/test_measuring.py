"""Several passes: the least of each network is the answer, and passes that never agree are not called stable."""

import pytest
import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.hardware import Measurement, Target, TimingPlan, measure
from autoprune.hardware.timing.measure import least_of


class Script(Target):
    """A device whose passes are written down."""

    name = "script"

    def __init__(self, passes):
        super().__init__()
        self.left = list(passes)

    def available(self):
        return None

    def versions(self):
        return {}

    def pack(self, model, example):
        return b""

    def time(self, payloads, protocol, progress=None):
        return [Measurement(ms, 0.0, 1, "script", True) for ms in self.left.pop(0)]


def timed(*passes, planned=4, most=None):
    target = Script(passes)
    plan = TimingPlan(passes=planned, most=most or planned)
    results = measure([nn.Identity(), nn.Identity()], torch.zeros(1, 1), target, plan)
    return results, target.left


def test_passes_that_agree_end_the_measurement():
    results, left = timed((2.0, 1.0), (2.02, 1.01), (2.01, 1.005), (9.0, 9.0))
    assert [r.ms for r in results] == [2.0, 1.0]
    assert len(left) == 1
    assert all(r.stable and r.conditions["passes"] == 3 for r in results)
    assert results[0].conditions["passes_differ"] == pytest.approx(0.005)


def test_a_slow_spell_is_outlived():
    # The spell hits the small network hardest, and the second pass ends in it.
    results, left = timed((2.2, 1.5), (2.0, 1.45), (2.01, 1.0), (2.03, 1.01))
    assert [r.ms for r in results] == [2.0, 1.0]
    assert left == []
    assert all(r.stable for r in results)


def test_where_tensors_come_to_lie_in_one_process_decides_nothing():
    # Each network is 3 % slower in every other process, by chance and for itself.
    results, _ = timed((2.06, 1.0), (2.0, 1.03), (2.06, 1.03), (2.0, 1.0))
    assert [r.ms for r in results] == [2.0, 1.0]
    assert all(r.stable for r in results) and results[0].conditions["passes_differ"] == 0


def test_passes_that_do_not_agree_go_on_until_they_do():
    results, left = timed((2.0, 1.0), (3.0, 1.5), (2.5, 1.2), (2.1, 1.1), (2.04, 1.02), (9.0, 9.0), planned=3, most=6)
    assert [r.ms for r in results] == [2.0, 1.0] and left == [(9.0, 9.0)]
    assert all(r.stable and r.conditions["passes"] == 5 for r in results)


def test_passes_that_never_agree_are_unstable():
    passes = ((2.0, 1.0), (3.0, 1.5), (2.5, 1.2), (2.1, 1.1), (4.0, 2.0), (3.5, 1.5), (2.0, 1.0))
    for most, asked in ((None, 3), (6, 6)):
        results, left = timed(*passes, planned=3, most=most)
        assert [r.ms for r in results] == [2.0, 1.0] and len(left) == len(passes) - asked
        assert not any(r.stable for r in results)


def test_one_pass_is_taken_as_it_is():
    results, _ = timed((2.0, 1.0), (1.0, 0.5), planned=1)
    assert [r.ms for r in results] == [2.0, 1.0]
    assert "passes" not in results[0].conditions
    assert all(r.stable for r in results)
    with pytest.raises(InputError, match="0 passes"):
        timed((2.0, 1.0), planned=0)


def test_the_order_of_passes_does_not_matter():
    passes = [[Measurement(ms, 0.0, 1, "cpu", True) for ms in row] for row in ((2.0, 1.2), (2.1, 1.0), (4.0, 4.0))]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        best, differ = least_of([passes[i] for i in order])
        assert [m.ms for m in best] == [2.0, 1.0]
        assert differ == pytest.approx(0.2)
