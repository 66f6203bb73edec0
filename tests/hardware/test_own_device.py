"""A device of the user's own behind a pipe: the example of the docs works, and a device that fails costs no table."""

import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from autoprune.cli.main import run
from autoprune.errors import TargetError
from autoprune.hardware import LatencyTable, Protocol, get_target, measure

ROOT = Path(__file__).parents[2]
FAULTS = {
    "die": r"its process ended \(killed by SIGKILL\): the cable was pulled",
    "hang": "no sign of life for 2 s; it was stopped",
    "half": "no sign of life for 2 s; it was stopped",
    "not-json": "answered nonsense: 'Segmentation fault' is no JSON object",
    "list": "answered nonsense",
    "few": "answered nonsense: 1 results for 2 networks",
    "no-blocks": "answered nonsense: no 'blocks'",
    "bad-alive": "answered nonsense: a sign of life yes",
    "empty": r"answered nonsense: latencies \[\]",
    "negative": "answered nonsense: latencies",
    "zero": "answered nonsense: latencies",
    "nan": "answered nonsense: latencies",
    "infinite": "answered nonsense: latencies",
    "text": "answered nonsense: latencies",
    "true": "answered nonsense: latencies",
    "bad-energy": "answered nonsense: an energy of -1 mJ",
    "few-energies": "answered nonsense: 1 energies for 2 networks",
    "error": "failed: out of memory on the board",
}


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that tells the paper board what to do."""
    monkeypatch.setenv("PAPER_BOARD", str(tmp_path))
    return tmp_path


def break_at(board: Path, kind: str, request: int) -> None:
    (board / "fault").write_text(json.dumps({"kind": kind, "at": request}))


def requests(board: Path) -> list[int]:
    return [int(line) for line in (board / "requests").read_text().splitlines()]


def two_networks() -> list[bytes]:
    return [json.dumps({"ms": ms}).encode() for ms in (0.5, 2.0)]


def test_a_device_behind_a_pipe_is_timed(board: Path) -> None:
    target = get_target("tests.support.targets.paper_board:PaperBoard", threads=2)
    assert target.available() is None
    short, long = target.time(two_networks(), Protocol())
    assert (short.ms, long.ms, short.stable, short.clock) == (0.5, 2.0, True, "device")
    fingerprint = target.fingerprint()
    assert fingerprint["device"] == "paper" and fingerprint["threads"] == "2"
    assert "cpu" not in fingerprint  # this machine's processor has nothing to do with it


def test_a_device_may_say_what_it_took(board: Path) -> None:
    break_at(board, "energy", 1)  # no fault, but said on request
    first, second = get_target("tests.support.targets.paper_board:PaperBoard").time(two_networks(), Protocol())
    assert first.conditions["energy_mj"] == 0.5 and first.conditions["energy_source"] == "paper"
    assert second.conditions["energy_mj"] is None


@pytest.mark.parametrize("kind", FAULTS)
def test_a_device_that_fails_is_told_of_in_one_line(board: Path, kind: str) -> None:
    break_at(board, kind, 1)
    start = time.monotonic()
    with pytest.raises(TargetError, match=f"target 'paper'.*{FAULTS[kind]}") as caught:
        get_target("tests.support.targets.paper_board:PaperBoard").time(two_networks(), Protocol())
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250 and caught.value.exit_code == 4
    assert time.monotonic() - start < 10


def test_a_device_that_takes_nothing_in(board: Path) -> None:
    break_at(board, "deaf", 1)
    with pytest.raises(TargetError, match="took nothing in for 2 s"):
        get_target("tests.support.targets.paper_board:PaperBoard").time([b"x" * 3_000_000], Protocol())


def test_a_device_that_greets_or_is_not_there(board: Path) -> None:
    target = get_target("tests.support.targets.paper_board:NotThere")
    assert "'/no/such/program' cannot be started" in str(target.available())
    with pytest.raises(TargetError, match="not available here"):
        target.require()
    break_at(board, "greeting", 0)
    assert "answered nonsense: 'Welcome to the board!'" in str(
        get_target("tests.support.targets.paper_board:PaperBoard").available()
    )


def test_nothing_of_a_device_that_hangs_is_left(board: Path) -> None:
    break_at(board, "hang", 1)
    before = set(threading.enumerate())
    with pytest.raises(TargetError):
        get_target("tests.support.targets.paper_board:PaperBoard").time(two_networks(), Protocol())
    time.sleep(0.2)
    assert set(threading.enumerate()) <= before


def _profile(out: Path, target: str = "tests.support.targets.paper_board:PaperBoard") -> int:
    given = ["--model", "resnet20", "--data", "digits", "--target", target, "--granularity", "8"]
    return run(["profile", *given, "--out", str(out)])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[LatencyTable, list[int]]:
    """The table of a profile that nothing went wrong with, and the requests it took."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAPER_BOARD", str(folder))
        assert _profile(folder / "table.json") == 0
    return LatencyTable.load(folder / "table.json"), requests(folder)


@pytest.mark.parametrize(("kind", "at"), [("die", -3), ("nan", -1)])
def test_a_profile_goes_on_when_the_device_is_back(
    board: Path, whole: tuple[LatencyTable, list[int]], kind: str, at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks in the last request for layers, or (-1) while the last networks are timed; the table ends the same."""
    table, took = whole
    out = board / "table.json"
    break_at(board, kind, len(took) + 1 + at)
    assert _profile(out) == 4
    complaint = [line for line in capsys.readouterr().err.splitlines() if line.startswith("autoprune:")]
    assert any("target 'paper'" in line for line in complaint) and not out.exists()
    (part,) = [path for path in board.iterdir() if path.name.startswith("table.json")]
    kept = LatencyTable.load(part)
    assert len(kept.entries) >= 90 and all(table.entries[key].ms == entry.ms for key, entry in kept.entries.items())
    (board / "fault").unlink()
    answered = sum(requests(board))
    assert _profile(out) == 0
    resumed = LatencyTable.load(out)
    assert resumed.entries == table.entries and resumed.predict({}) == pytest.approx(table.predict({}), rel=1e-9)
    # Nothing that stands in the kept table is timed again: 4 copies and 1 of every layer.
    assert sum(requests(board)) - answered <= sum(took) - len(kept.entries)


def test_the_example_of_the_docs_is_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    section = (ROOT / "docs/targets.md").read_text(encoding="utf-8").partition("## Your own device")[2]
    blocks = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    source = (ROOT / "examples/board.py").read_text(encoding="utf-8")
    assert blocks and all(block.strip() in source for block in blocks)
    commands = re.findall(r"^autoprune .*examples\.board:Board.*$", section, flags=re.MULTILINE)
    assert any("profile" in command for command in commands) and any("targets" in command for command in commands)


def test_the_example_times_as_the_runtime_beside_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The board is this machine: what it says lies near what the target of the same runtime says."""
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(ROOT)
    network = nn.Sequential(nn.Conv2d(16, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3)).eval()
    example, protocol = torch.zeros(1, 16, 32, 32), Protocol(block=0.03, most_blocks=12)
    (there,) = measure([network], example, get_target("examples.board:Board"), protocol)
    (here,) = measure([network], example, get_target("onnxruntime"), protocol)
    assert there.ms == pytest.approx(here.ms, rel=0.5) and there.conditions["device"]["target"] == "board"


def test_the_example_s_profile_by_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(ROOT)
    given = [
        "--model",
        "tests.support.targets.paper_board:network",
        "--data",
        "digits",
        "--target",
        "examples.board:Board",
    ]
    assert run(["profile", *given, "--granularity", "8", "--out", str(tmp_path / "table.json")]) == 0
    table = LatencyTable.load(tmp_path / "table.json")
    assert table.complete and table.fingerprint["target"] == "board" and table.predict({}) > 0


def _compress(run_dir: Path, *more: str) -> int:
    given = [
        "--model",
        "tests.support.targets.paper_board:network",
        "--data",
        "digits",
        "--target",
        "tests.support.targets.paper_board:PaperBoard",
    ]
    given += ["--granularity", "4", "--agent", "random", "--episodes", "3", "--finalists", "1"]
    given += ["--train-epochs", "1", "--finetune-epochs", "0", "--train-threads", "1", "--latency", "60%"]
    return run(["compress", *given, "--run", str(run_dir), *more])


def test_a_run_is_resumed_to_its_end_when_the_device_is_back(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It dies in the first request, and when the finished network is verified; the result is the unbroken run's."""
    assert _compress(board / "whole") == 0
    last = len(requests(board))
    broken = board / "broken"
    (board / "requests").unlink()
    for at in (1, last):
        break_at(board, "die", at)
        assert _compress(broken, "--resume") == 4
        assert "target 'paper': its process ended" in capsys.readouterr().err
    (board / "fault").unlink()
    assert _compress(broken, "--resume") == 0
    whole, resumed = (json.loads((folder / "report.json").read_text()) for folder in (board / "whole", broken))
    assert resumed["finetuned"] == whole["finetuned"] and resumed["budget"] == whole["budget"]
    assert (broken / "policy.json").read_text() == (board / "whole/policy.json").read_text()


def test_our_own_worker_killed_in_mid_profile(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As for a board: one line, the finished batches kept, and the same table in the end."""
    out, whole = board / "table.json", board / "whole.json"
    assert _profile(whole, "tests.support.targets.paper_board:PaperWorker") == 0
    break_at(board, "die", 150)  # in the second batch of layers
    assert _profile(out, "tests.support.targets.paper_board:PaperWorker") == 4
    complaint = [line for line in capsys.readouterr().err.splitlines() if line.startswith("autoprune:")]
    assert any("'paper-worker': the worker process ended (killed by SIGKILL)" in line for line in complaint)
    kept = LatencyTable.load(board / "table.json.part")
    assert len(kept.entries) >= 90
    (board / "fault").unlink()
    assert _profile(out, "tests.support.targets.paper_board:PaperWorker") == 0
    assert LatencyTable.load(out).entries == LatencyTable.load(whole).entries


def test_our_own_worker_killed_in_mid_measurement() -> None:
    """`kill -9` from outside: one line, at once, and the next session works."""
    target = get_target("tests.support.targets.worker_targets:SleepTarget")
    slow = Protocol(block=0.2, warmup=1, least_blocks=3, most_blocks=30)
    with target.session() as timer:
        killed = threading.Timer(0.5, lambda: os.kill(timer.pid, signal.SIGKILL))
        killed.start()
        start = time.monotonic()
        with pytest.raises(TargetError, match=r"'sleep': the worker process ended \(killed by SIGKILL\)") as caught:
            timer.time([b"1"] * 8, slow)
        killed.join()
    assert time.monotonic() - start < 10 and "\n" not in str(caught.value)
    assert target.time([b"0.5"], Protocol(block=0.002, warmup=1, least_blocks=3))[0].ms > 0.4
