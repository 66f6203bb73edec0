"""A worker that crashes, hangs or talks too much: a clear error of one line, never a wait without end."""

import errno
import math
import sys
import time

import pytest

from autoprune.errors import InputError, TargetError
from autoprune.hardware import LocalTarget, Protocol, get_target
from autoprune.hardware.timing.json_lines import JsonLinesProcess
from autoprune.hardware.timing.loop import time_calls

_QUICK = Protocol(block=0.002, warmup=1, least_blocks=3, most_blocks=6, agreement=0.1, meter=0.2)


def _local(name: str) -> LocalTarget:
    target = get_target(f"tests.support.targets.worker_targets:{name}")
    assert isinstance(target, LocalTarget)
    return target


def test_a_user_s_class_is_timed() -> None:
    short, long = _local("SleepTarget").time([b"0.5", b"2"], _QUICK)
    assert short.clock == "cpu" and 0.4 < short.ms < 1.0 and 2.5 < long.ms / short.ms < 5.0


def test_what_a_runtime_prints_does_not_disturb() -> None:
    (result,) = _local("NoisyTarget").time([b"0.5"], _QUICK)
    assert 0.4 < result.ms < 1.0


def test_energy_is_that_of_a_call() -> None:
    """2 mJ a call, whatever the calls' length, warm-up left out, over a wrap of the counter."""
    for result in _local("MeteredTarget").time([b"0.5", b"2"], _QUICK):
        assert result.conditions["energy_mj"] == pytest.approx(2.0) and result.conditions["energy_source"] == "RAPL"


def test_energy_without_a_sensor_is_none_and_says_why() -> None:
    conditions = _local("SleepTarget").time([b"0.5"], _QUICK)[0].conditions
    if "RAPL" not in str(conditions["energy_source"])[:4]:
        assert conditions["energy_mj"] is None and conditions["energy_source"]


def test_a_crash_is_one_line_with_the_last_words() -> None:
    with pytest.raises(TargetError, match=r"'crash': the worker process ended \(status 7\).*caught fire") as caught:
        _local("CrashTarget").time([b"1"], _QUICK)
    assert "\n" not in str(caught.value)


def test_an_exception_is_one_line() -> None:
    with pytest.raises(TargetError, match="'raising' failed: RuntimeError: first line") as caught:
        _local("RaisingTarget").time([b"1"], _QUICK)
    assert "\n" not in str(caught.value) and "worker_targets.py" in str(caught.value)


def test_a_hanging_worker_is_stopped() -> None:
    start = time.monotonic()
    target = _local("HangingTarget")
    target.patience = 2
    with pytest.raises(TargetError, match="no sign of life"), target.session() as worker:
        worker.time([b"1"], _QUICK)
    assert time.monotonic() - start < 15


def test_one_worker_serves_several_batches_and_reports_progress() -> None:
    seen: list[tuple[int, int]] = []
    with _local("SleepTarget").session() as timer:
        assert len(timer.time([b"0.5"], _QUICK)) == 1
        slow = Protocol(block=0.15, warmup=1, least_blocks=3, most_blocks=3)
        assert len(timer.time([b"1", b"1"], slow, lambda done, total: seen.append((done, total)))) == 2
    assert seen and all(total == 2 and 0 <= done <= 2 for done, total in seen)


def test_no_room_for_temporary_files_is_one_line_that_names_their_folder(monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    says = r"cannot write temporary files to .*: No space left on device; TMPDIR names another folder"
    with _local("SleepTarget").session() as timer:
        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.write_bytes", full)
            with pytest.raises(InputError, match=says):
                timer.time([b"0.5"], _QUICK)
        assert len(timer.time([b"0.5"], _QUICK)) == 1
    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    with pytest.raises(InputError, match=says):
        _local("SleepTarget").time([b"0.5"], _QUICK)


def test_a_missing_target_says_what_is_missing() -> None:
    with pytest.raises(TargetError, match="not available here: no board is plugged in"):
        _local("MissingTarget").require()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'onnxruntime'"):
        get_target("onnxruntim")
    with pytest.raises(InputError, match="cannot be imported"):
        get_target("no_such_module:Target")
    with pytest.raises(InputError, match="not a subclass"):
        get_target("pathlib:Path")
    with pytest.raises(InputError, match="at least 1 thread"):
        get_target("torch", threads=0)


def test_a_module_that_fails_while_it_is_imported_is_the_users_fault(tmp_path, monkeypatch) -> None:
    (tmp_path / "broken_board.py").write_text("size = 1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(InputError, match="'broken_board:Board' cannot be imported: ZeroDivisionError"):
        get_target("broken_board:Board")


class SlowCounter:
    """A clock on which a call takes 1 ms and 3 mJ, and a counter of energy that moves every 100 ms, as a GPU's."""

    name = "slow"

    def __init__(self, monkeypatch, fails_at=math.inf) -> None:
        self.calls, self.fails_at = 7, fails_at  # the first tick comes early
        monkeypatch.setattr("autoprune.hardware.timing.loop.time.perf_counter", lambda: self.calls * 1e-3)

    def sample(self, call, loops):
        self.calls += loops
        return loops * 1e-3, True

    def read(self) -> float | None:
        return None if self.calls > self.fails_at else self.calls // 100 * 100 * 3e-3


def _metered(counter, **protocol):
    quick = Protocol(block=0.01, warmup=1, least_blocks=3, most_blocks=3, **protocol)
    return [m.conditions["energy_mj"] for m in time_calls([lambda: None] * 2, counter, quick, energy=counter.read)]


@pytest.mark.parametrize("meter", [0.15, 1.0, 3.0])
def test_energy_is_counted_between_ticks_of_a_counter_that_ticks_slowly(meter, monkeypatch) -> None:
    assert _metered(SlowCounter(monkeypatch), meter=meter) == pytest.approx(
        [3.0, 3.0], rel=0.07 if meter < 1 else 0.011
    )


def test_energy_is_none_when_a_reading_fails_or_nothing_was_to_be_read(monkeypatch) -> None:
    assert _metered(SlowCounter(monkeypatch, fails_at=1500), meter=1.0) == [pytest.approx(3.0, rel=0.011), None]
    assert _metered(SlowCounter(monkeypatch), meter=0) == [None, None]


def test_a_counter_that_stands_still_is_no_energy_and_no_wait_without_end(monkeypatch) -> None:
    counter = SlowCounter(monkeypatch)
    counter.read = lambda: 5.0
    assert _metered(counter, meter=1.0) == [None, None]
    assert counter.calls * 1e-3 < 3  # seconds, for both together


def test_a_process_that_closes_its_output_and_lives_on_is_stopped() -> None:
    script = "import os, sys, time; os.close(1); time.sleep(60)"
    with JsonLinesProcess("target 'board'", [sys.executable, "-c", script], patience=3.0) as process:
        start = time.monotonic()
        with pytest.raises(TargetError, match="target 'board': its process closed its output and did not end"):
            process.ask({"time": []}, "blocks")
    assert time.monotonic() - start < 15


def test_what_a_user_s_module_says_of_its_board_passes_as_it_is(tmp_path, monkeypatch) -> None:
    lines = ["from autoprune.errors import TargetError", "raise TargetError('no board is plugged in')"]
    (tmp_path / "unplugged.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(TargetError, match=r"^no board is plugged in"):
        get_target("unplugged:Board")
