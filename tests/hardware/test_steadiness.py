"""How repeatable a machine is: judged by arithmetic on made-up timings, and shown by the command."""

from pathlib import Path

import pytest
import torch
from torch import nn

from autoprune.cli.main import run
from autoprune.errors import InputError, TargetError
from autoprune.hardware import Measurement, Target
from autoprune.hardware.sensors.telemetry import Recorder, Sensors, Telemetry
from autoprune.hardware.timing.repeatability import Repeatability, check, judge, what_disturbs
from tests.support.targets.machine import put


def timing(ms: float, *, spread: float = 0.004, stable: bool = True, preemptions: int | None = 3) -> Measurement:
    return Measurement(ms, spread, 100, "cpu", stable, {"preemptions": preemptions})


class Scripted(Target):
    """Answers with what stands in its script, one entry a process."""

    name = "scripted"

    def __init__(self, script: list[float | str]) -> None:
        super().__init__()
        self.script = script
        self.packed = 0

    def available(self):
        return None

    def versions(self):
        return {"runtime": "script 1"}

    def pack(self, model, example):
        self.packed += 1
        return b"network"

    def time(self, payloads, protocol, progress=None):
        assert payloads == [b"network"]
        answer = self.script.pop(0)
        if isinstance(answer, str):
            raise TargetError(answer)
        return [timing(answer)]


class Other(Scripted):
    name = "other"


def test_figures_by_hand() -> None:
    found = judge("x", [timing(2.0), timing(2.1, spread=0.03, preemptions=5), timing(2.06, stable=False)])
    assert (found.ms, found.inside, found.stable, found.processes, found.preemptions) == (2.0, 0.03, 2, 3, 11)
    assert found.between == pytest.approx(0.05)
    assert judge("x", [timing(1.0), timing(1.0, preemptions=None)]).preemptions is None


@pytest.mark.parametrize(
    ("times", "unstable", "grade"),
    [
        ([1.0, 1.01, 1.015], 0, "good"),
        ([1.0, 1.01, 1.015], 1, "usable"),
        ([1.0, 1.01, 1.015], 2, "noisy"),
        ([1.0, 1.04, 1.0], 0, "usable"),
        ([1.0, 1.06, 1.0], 0, "noisy"),
    ],
)
def test_grades(times: list[float], unstable: int, grade: str) -> None:
    found = judge("x", [timing(ms, stable=i >= unstable) for i, ms in enumerate(times)])
    assert found.grade == grade and found.verdict(None).startswith(grade)
    assert found.verdict(None).count("\n") == 0


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2"):
        judge("x", [timing(1.0)])
    with pytest.raises(TargetError, match="reported as a latency"):
        judge("x", [timing(0.0), timing(1.0)])


def _told(
    root: Path, load: float, before: str = "100 0 0 800 0 0 0 0", after: str = "200 0 0 900 0 0 0 0"
) -> Telemetry:
    put(root, {"proc/loadavg": load, "proc/stat": f"cpu {before}", "sys/fs/cgroup/cpu.stat": "throttled_usec 0"})
    with Recorder(Sensors(root=root), interval=60) as recorder:
        put(root, {"proc/stat": f"cpu {after}"})
    return recorder.result()


def test_the_reason_is_what_the_signals_show(tmp_path: Path) -> None:
    quiet = _told(tmp_path, 1.0)
    assert what_disturbs(quiet, None, cores=2) is None
    assert "let it cool" in str(what_disturbs(quiet, "too hot", cores=2))
    assert "load 6.0 on 2 cores" in str(what_disturbs(_told(tmp_path, 6.0), None, cores=2))
    stolen = _told(tmp_path, 6.0, after="150 0 0 840 0 0 0 10")
    assert "hypervisor gave 10% of the time" in str(what_disturbs(stolen, None, cores=2))


def test_a_machine_without_signals_is_not_blamed(tmp_path: Path) -> None:
    with Recorder(Sensors(root=tmp_path), interval=60) as recorder:
        pass
    assert what_disturbs(recorder.result(), None) is None
    noisy = judge("x", [timing(1.0), timing(2.0)])
    assert "nothing says why" in noisy.verdict(None)


def test_targets_are_timed_in_turn_and_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    good, bad = Scripted([1.0, 1.01, 1.02]), Other([1.0, "the cable was pulled"])
    seen: list[str] = []
    judged, telemetry, disturbance = check(
        [good, bad],
        nn.Identity(),
        torch.zeros(1),
        processes=3,
        sensors=Sensors(root=tmp_path),
        progress=lambda done, total, what: seen.append(what),
    )
    found, failure = judged.values()
    assert isinstance(found, Repeatability) and found.between == pytest.approx(0.02) and found.processes == 3
    assert isinstance(failure, TargetError) and "cable" in str(failure)
    assert seen[0] != seen[1] and seen[:2] == seen[2:4] and good.packed == 1
    assert telemetry.load.value is None and disturbance is None


def test_time_is_bounded_but_for_two_rounds(tmp_path: Path) -> None:
    target = Scripted([1.0, 1.0, 1.0])
    sensors = Sensors(root=tmp_path)
    judged, _, _ = check([target], nn.Identity(), torch.zeros(1), processes=3, seconds=0.0, sensors=sensors)
    (found,) = judged.values()
    assert isinstance(found, Repeatability) and found.processes == 2 and len(target.script) == 1


def test_the_command_says_figures_verdict_and_signals(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets", "--target", "onnxruntime", "--processes", "2"]) == 0
    out = capsys.readouterr().out
    assert "onnxruntime: 0." in out and "2 processes within" in out
    assert any(word in out for word in ("good for tables", "usable:", "noisy:"))
    assert "energy_j" in out and "temperature_c" in out and "load" in out


def test_the_command_fails_where_no_target_could_be_timed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unplugged(self: Target, *_: object) -> None:
        raise TargetError("the cable was pulled")

    monkeypatch.setattr("autoprune.hardware.targets.local.LocalTarget.time", unplugged)
    assert run(["targets", "--target", "onnxruntime", "--processes", "2"]) == 4
    said = capsys.readouterr()
    assert "onnxruntime: the cable was pulled" in said.out and "none of the targets" in said.err


def test_the_command_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets", "--check", "--target", "onnxruntim"]) == 2
    assert "did you mean 'onnxruntime'" in capsys.readouterr().err
