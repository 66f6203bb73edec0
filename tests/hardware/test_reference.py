"""Blocks between two blocks of a reference kernel: what slows the whole machine down is divided out."""

import json
import math

import numpy as np
import pytest

from autoprune.errors import InputError
from autoprune.hardware import LatencyTable, Measurement, Protocol, get_target
from autoprune.hardware.contract.protocol import at_quiet, ratio_to_reference
from autoprune.hardware.timing.loop import Reference, time_calls
from autoprune.hardware.timing.measure import least_of
from autoprune.models import resnet20
from tests.support.targets.formula_case import Case
from tests.support.targets.formula_target import MadeUpTarget


class Drifting:
    """A clock on a machine whose speed changes: each call takes its own seconds times the slowness of the moment."""

    name = "drifting"

    def __init__(self, slowness) -> None:
        self.slowness, self.now, self.called = slowness, 0.0, 0.0

    def call(self, seconds: float):
        def called() -> None:
            self.called = seconds

        return called

    def sample(self, call, loops):
        call()
        taken = self.called * loops * self.slowness(self.now)
        self.now += taken
        return taken, True


def timed(slowness, *, reference: bool, seconds=(2e-3, 1e-3, 4e-4)) -> list[Measurement]:
    clock = Drifting(slowness)
    kernel = Reference(clock.call(1e-4)) if reference else None
    return time_calls([clock.call(each) for each in seconds], clock, Protocol(block=0.06), reference=kernel)


def shares(results: list[Measurement]) -> list[float]:
    return [m.ms / results[0].ms for m in results]


def _spells(now: float) -> float:
    """Twice as slow for most of the time, in spells of three seconds."""
    return 1.0 if math.fmod(now, 4.0) > 3.0 else 2.0


def test_a_steady_machine_gives_the_same_with_and_without() -> None:
    with_it, without = timed(lambda now: 1.0, reference=True), timed(lambda now: 1.0, reference=False)
    for results in (with_it, without):
        assert [m.ms for m in results] == pytest.approx([2.0, 1.0, 0.4])
    assert with_it[0].conditions["ratio"] == pytest.approx(20.0)
    assert with_it[0].conditions["reference_ms"] == pytest.approx(0.1)
    assert "ratio" not in without[0].conditions and "reference_ms" not in without[0].stored_conditions()


def test_a_drift_reaches_no_ratio() -> None:
    """The machine becomes slower by half in the second that the measurement takes."""
    truth = [1.0, 0.5, 0.2]
    drifted = timed(lambda now: 1.0 + 0.5 * now, reference=True)
    assert shares(drifted) == pytest.approx(truth, rel=0.03)
    assert all(m.stable for m in drifted)


def test_a_session_that_began_and_ended_in_a_slow_spell_has_the_right_ratios() -> None:
    results = timed(lambda now: 2.0, reference=True)
    assert [m.conditions["ratio"] for m in results] == pytest.approx([20.0, 10.0, 4.0])
    assert results[0].conditions["reference_ms"] == pytest.approx(0.2)


def test_spells_that_stop_before_every_candidate_is_through_distort_only_what_has_no_reference() -> None:
    truth = np.array([1.0, 0.5, 0.2, 1.5, 0.7] * 8)
    seconds = tuple(truth * 2e-3)
    found = np.array(shares(timed(_spells, reference=True, seconds=seconds)))
    assert np.abs(found / truth - 1).max() < 0.02


def test_the_quieter_half_of_the_blocks_counts() -> None:
    """Where the neighbour is, the candidate suffers more than the reference: such blocks are left out."""
    blocks, beside = [2.0, 3.0, 2.01, 3.1, 1.99, 2.9], [1.0, 1.2, 1.0, 1.2, 1.0, 1.2]
    value, spread, stable = ratio_to_reference(blocks, beside, Protocol())
    assert (value, stable) == (2.0, True) and spread == pytest.approx(0.01)
    assert not ratio_to_reference(blocks[:3], beside[:3], Protocol())[2]


def test_latencies_of_a_slow_process_are_taken_at_the_quiet_time_of_the_reference() -> None:
    assert at_quiet(2.6, 0.13, 0.1) == pytest.approx(2.0)
    assert at_quiet(2.05, 0.1025, 0.1) == 2.05  # where tensors lie in a process is no drift

    def one(ms: float, reference_ms: float) -> Measurement:
        return Measurement(ms, 0.0, 1, "cpu", True, {"ratio": ms / reference_ms, "reference_ms": reference_ms})

    best, differ = least_of([[one(2.6, 0.13), one(1.3, 0.13)], [one(2.0, 0.1), one(1.02, 0.1)]])
    assert [m.ms for m in best] == pytest.approx([2.0, 1.0]) and differ == pytest.approx(0.02)
    assert [m.conditions.reference_ms for m in best] == [0.1, 0.1]


def test_no_block_is_begun_once_the_time_is_over() -> None:
    clock = Drifting(lambda now: 1.0)
    calls = [clock.call(1e-3), clock.call(2e-3)]
    results = time_calls(calls, clock, Protocol(seconds=0.0), reference=Reference(clock.call(1e-4)))
    assert [m.ms for m in results] == pytest.approx([1.0, 2.0])
    assert [m.conditions["blocks"] for m in results] == [1, 1] and not any(m.stable for m in results)
    with pytest.raises(InputError, match="0 seconds or more"):
        Protocol(seconds=-1.0)


def test_progress_comes_block_by_block() -> None:
    clock, seen = Drifting(lambda now: 1.0), []
    time_calls([clock.call(1e-3)] * 10, clock, Protocol(), lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and len(set(seen)) > 8 and seen[-1] == (10, 10)


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_a_runtime_of_this_machine_is_timed_beside_its_reference(name) -> None:
    target = get_target(name)
    if target.available() is not None:
        pytest.skip(target.available())
    layer = target.pack_layer(_layer(), 1)
    few = Protocol(block=0.002, warmup=1, least_blocks=3, most_blocks=3)
    with target.session() as timer:
        first, again = timer.time([layer], few)[0], timer.time([layer], few)[0]
    for result in (first, again):
        found = result.conditions
        assert result.ms == pytest.approx(found["ratio"] * found["reference_ms"], rel=1e-3)
    assert again.conditions["reference_ms"] <= first.conditions["reference_ms"]  # the quietest of the process


def _layer():
    from autoprune.hardware import Layer

    return Layer("conv", 16, 16, 1, (8, 8), (8, 8), (3, 3), (1, 1), (1, 1), (1, 1))


class Slowing(MadeUpTarget):
    """A machine that is slow by a factor of its own in every session, and whose reference says so."""

    def __init__(self, factors, *, reference: bool) -> None:
        super().__init__()
        self.factors, self.reference, self.sessions = factors, reference, 0

    def time(self, payloads, protocol, progress=None):
        slow = self.factors[self.sessions % len(self.factors)]
        self.sessions += 1
        told = {"reference_ms": 0.05 * slow} if self.reference else {}
        results = super().time(payloads, protocol, progress)
        return [Measurement(m.ms * slow, 0.0, 1, "formula", True, told) for m in results]


def test_a_table_of_slow_sessions_is_the_table_of_a_quiet_machine(tmp_path) -> None:
    factors = (1.3, 1.25, 1.0, 1.4, 1.0, 1.2, 1.5)
    case, slow = Case(resnet20(), Slowing(factors, reference=True)), Case(resnet20(), Slowing(factors, reference=False))
    table, plain = case.profile(), slow.profile()
    assert table.quiet == 0.05 and plain.quiet is None
    choices = case.space.random(5).choices
    assert table.predict(choices) == pytest.approx(case.truth(choices), rel=0.01) and table.error.mean < 0.01
    assert abs(plain.predict(choices) / case.truth(choices) - 1) > 0.05
    table.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json").predict(choices) == table.predict(choices)


@pytest.mark.parametrize("reference", [0, -1.0, "fast", True, 1e300])
def test_a_reference_that_is_none_is_refused(tmp_path, reference) -> None:
    case = Case(resnet20(), Slowing((1.0,), reference=True))
    case.profile().save(tmp_path / "table.json")
    content = json.loads((tmp_path / "table.json").read_text())
    for place in (next(iter(content["entries"].values())), content["runs"][0]):
        was, place["conditions"]["reference_ms"] = place["conditions"]["reference_ms"], reference
        (tmp_path / "bad.json").write_text(json.dumps(content))
        place["conditions"]["reference_ms"] = was
        with pytest.raises(InputError, match="reference"):
            LatencyTable.load(tmp_path / "bad.json")
