"""The stopping rule by hand, and the measuring loop against a clock that is made up."""

import gc
import json

import pytest

from autoprune.errors import InputError, TargetError
from autoprune.hardware import Measurement, Protocol
from autoprune.hardware.contract.protocol import is_stable, summarise
from autoprune.hardware.sensors import processor as clocks
from autoprune.hardware.timing.loop import time_calls


class _Script:
    """A clock that says what it is told; disturbed samples are negative."""

    name = "script"

    def __init__(self, times: list[float]) -> None:
        self.times, self.calls = times, 0

    def sample(self, call, loops):
        call()
        value = self.times[self.calls % len(self.times)]
        self.calls += 1
        return abs(value) * loops, value > 0


def test_the_rule_looks_at_the_three_smallest_blocks() -> None:
    protocol = Protocol()
    assert not is_stable([1.0, 1.0, 1.0, 1.0], protocol)  # too few
    assert is_stable([1.0, 9.0, 1.01, 5.0, 1.014], protocol)
    assert not is_stable([1.0, 9.0, 1.01, 5.0, 1.02], protocol)
    value, spread, stable = summarise([1.0, 9.0, 1.01, 5.0, 1.014], protocol)
    assert value == 1.01 and spread == pytest.approx(0.014 / 1.01) and stable


def test_a_steady_clock_gives_its_own_value() -> None:
    (result,) = time_calls([lambda: None], _Script([2e-3]), Protocol())
    assert result.ms == pytest.approx(2.0) and result.stable and result.spread == 0
    assert result.conditions["blocks"] == 7 and result.n == 7 * 60 and result.clock == "script"


def test_short_calls_are_looped() -> None:
    (result,) = time_calls([lambda: None], _Script([1e-6]), Protocol())
    assert result.conditions["loops"] == 150 and result.ms == pytest.approx(1e-3)


def test_a_wild_clock_is_given_up_and_flagged() -> None:
    # Every block is one sample of its own length, and no three of them agree.
    wild = [1.0 * 1.2**k for k in range(200)]
    (result,) = time_calls([lambda: None], _Script(wild), Protocol(block=0.01, most_blocks=7, closing=0))
    assert not result.stable and result.conditions["blocks"] == 7 and result.spread > 0.015


def test_who_settled_in_a_slow_spell_goes_on() -> None:
    # Five blocks of five samples at twice the time, then the machine is quiet.
    spell = [2e-3] * (5 * 5 + 1) + [1e-3] * 1000
    (result,) = time_calls([lambda: None], _Script(spell), Protocol(block=0.005, warmup=1))
    assert result.ms == pytest.approx(1.0) and result.stable and result.conditions["blocks"] > 7


def test_disturbed_samples_do_not_count() -> None:
    (result,) = time_calls([lambda: None], _Script([1e-3, -1e-4]), Protocol())
    assert result.ms == pytest.approx(1.0) and result.conditions["disturbed"] > 0


def test_a_machine_that_is_never_quiet_still_answers() -> None:
    (result,) = time_calls([lambda: None], _Script([-1e-3]), Protocol())
    assert result.ms == pytest.approx(1.0) and result.conditions["disturbed"] == 7 * 100


def test_candidates_take_turns_and_the_collector_comes_back() -> None:
    order: list[str] = []
    calls = [lambda: order.append("a"), lambda: order.append("b")]
    assert gc.isenabled()
    time_calls(calls, _Script([1e-3]), Protocol(block=0.003, warmup=1))
    assert gc.isenabled()
    timed = order[2:]
    assert timed[:10] == ["a"] * 5 + ["b"] * 5 and timed[10:15] == ["a"] * 5


def test_a_measurement_survives_json() -> None:
    (result,) = time_calls([lambda: None], _Script([1e-3]), Protocol())
    assert Measurement.from_json(json.loads(json.dumps(result.to_json()))) == result


@pytest.mark.parametrize("ms", [float("nan"), float("inf"), -1.0, "fast", None])
def test_nonsense_is_no_measurement(ms) -> None:
    with pytest.raises(TargetError, match="nonsense"):
        Measurement.from_json({"ms": ms, "spread": 0.0, "n": 1, "clock": "x", "stable": True})
    with pytest.raises(TargetError, match="no measurement"):
        Measurement.from_json({"ms": 1.0})


@pytest.mark.parametrize("bad", [{"block": 0}, {"least_blocks": 2}, {"most_blocks": 4}, {"percentile": 100}])
def test_a_protocol_refuses_nonsense(bad) -> None:
    with pytest.raises(InputError):
        Protocol(**bad)


ARM = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd05
CPU revision\t: 0

processor\t: 4
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"/proc/cpuinfo": ARM, "/proc/device-tree/model": "Orange Pi 5"}, ["Orange Pi 5", "0xd05", "0xd0b"]),
        ({"/proc/cpuinfo": ARM}, ["CPU implementer 0x41", "CPU part 0xd05", "parts 0xd05 0xd0b"]),
        ({"/proc/cpuinfo": "model name\t: AMD EPYC\ncpu family\t: 26\nmodel\t\t: 17\n\n"},
         ["AMD EPYC (cpu family 26, model 17)"]),
    ],
)  # fmt: skip
def test_processors_of_different_kinds_have_different_names(monkeypatch, files, named) -> None:
    monkeypatch.setattr(clocks, "_text", lambda path: files.get(path, ""))
    assert all(word in clocks.cpu_model() for word in named)
