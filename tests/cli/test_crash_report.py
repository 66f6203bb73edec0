"""A process that is killed in a stage is told of by another one."""

import os
import signal
import subprocess
import sys
import time

import pytest

STAGES = """
import os, signal, sys, time
from pathlib import Path
from autoprune.cli import crash_report
from autoprune.cli.screen import Screen
from autoprune.cli.stopping import resumable, watched
Path("experiment.yaml").touch()
with watched(), crash_report.guarding(), resumable(Path("."), "the same command with --resume"):
    screen = Screen()
    with screen.stage("a", "measuring"):
        pass
    with screen.stage("b", "fine-tuning, seed 0"):
        print(crash_report._process.pid, flush=True)
        {act}
    print("after", flush=True)
    {then}
"""
TOLD = 'autoprune: killed in the stage "fine-tuning, seed 0"; . keeps what is finished: the same command with --resume goes on\n'  # noqa: E501


def outcome(folder, act, then="pass", by=None):
    """Exit code and standard error of a process, and whether its sentinel has gone too."""
    code = STAGES.format(act=act, then=then)
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    sentinel = int(process.stdout.readline())
    if by is not None:
        time.sleep(0.3)
        os.killpg(process.pid, by)
    _, said = process.communicate(timeout=30)  # standard error ends when the sentinel has ended as well
    end = time.monotonic() + 5
    while (alive := os.path.exists(f"/proc/{sentinel}")) and time.monotonic() < end:  # noqa: PTH110 - of a process
        time.sleep(0.01)
    assert not alive
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_killed_process_is_told_of_with_its_stage(tmp_path, number):
    code, said = outcome(tmp_path, f"os.kill(os.getpid(), {int(number)})")
    assert (code, said) == (-number, TOLD)


def test_a_process_that_others_kill_is_told_of(tmp_path):
    assert outcome(tmp_path, "time.sleep(60)", by=signal.SIGKILL) == (-signal.SIGKILL, TOLD)


@pytest.mark.parametrize(
    ("act", "then", "code"),
    [
        ("pass", "pass", 0),
        ("pass", "os.kill(os.getpid(), 9)", -9),  # between two stages nobody knows what to say
        ("pass", "os._exit(3)", 3),
    ],
)
def test_silence_where_no_stage_dies(tmp_path, act, then, code):
    assert outcome(tmp_path, act, then) == (code, "")


def test_an_error_is_told_by_python_alone(tmp_path):
    code, said = outcome(tmp_path, "raise ValueError(3)")
    assert code == 1 and "killed" not in said and said.endswith("ValueError: 3\n")


def test_an_interruption_is_none_of_its_business(tmp_path):
    _, said = outcome(tmp_path, "time.sleep(60)", by=signal.SIGINT)
    assert "killed" not in said and "interrupted; . keeps what is finished" in said


def test_nor_is_an_interruption_that_is_swallowed(tmp_path):
    act = "\n        ".join(
        ["while True:", "    try:", "        time.sleep(60)", "    except KeyboardInterrupt:", "        pass"]
    )
    code, said = outcome(tmp_path, act, by=signal.SIGTERM)
    assert (code, said) == (
        130,
        "autoprune: interrupted; . keeps what is finished: the same command with --resume goes on\n",
    )


def test_a_command_without_a_stage_starts_none(autoprune):
    from autoprune.cli import crash_report

    assert autoprune("--help").code == 0
    assert crash_report._process is None
