"""Ctrl-C on a terminal reaches every process of the program; it ends within seconds, with one line."""

import signal
import sys
import time

import pytest

from autoprune.errors import Interrupted
from tests.support.command_line import JOB, tree
from tests.support.processes import started, stopped


def test_ctrl_c_while_a_worker_measures(tmp_path):
    (tmp_path / "nets.py").write_text(JOB.read_text())
    command = ["compress", "--model", "nets:network", "--data", "nets:loaders", "--target", "torch", "--latency", "50%"]
    process = started(tmp_path, *command, "--run", "job")
    seen = ""
    while "measuring layers on torch" not in seen:
        line = process.stderr.readline()
        assert line, seen
        seen += line
    time.sleep(1)  # the worker is at it, or still starting
    code, seconds, said = stopped(process)
    assert (code, seconds < 5) == (130, True)
    ours = [line for line in said.splitlines() if line.startswith("autoprune: ")]
    assert ours == ["autoprune: interrupted; runs/job keeps what is finished: the same command with --resume goes on"]
    assert "Traceback" not in said
    assert "runs/job/.lock" in tree(tmp_path)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_is_swallowed_ends_the_process_all_the_same(tmp_path, by):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom autoprune.cli.stopping import resumable, watched\n"
        "Path('experiment.yaml').touch()\n"
        "with watched(), resumable(Path('.'), 'the same command with --resume'):\n"
        "    print('ready', flush=True)\n"
        "    while True:\n"
        "        try:\n            time.sleep(60)\n"
        "        except KeyboardInterrupt:\n            pass\n"
    )
    process = started(tmp_path, code=code)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    code, seconds, said = stopped(process, by)
    assert (code, seconds < 5) == (130, True)
    assert said == "autoprune: interrupted; . keeps what is finished: the same command with --resume goes on\n"


def test_whoever_overwrites_is_told_to_leave_that_out():
    from autoprune.cli.main_job.whole_run import again
    from autoprune.run.flags import Flags

    assert again(Flags(resume=False, overwrite=True, onnx=False)).endswith("--resume in place of --overwrite")


def test_an_interruption_before_anything_was_started_says_so(tmp_path):
    process = started(tmp_path, "compress", "--data", "digits", "--run", "job")
    time.sleep(1.5)  # importing
    code, seconds, said = stopped(process)
    assert (code, seconds < 5) == (130, True)
    assert said.splitlines()[-1].startswith("autoprune: interrupted")
    assert "Traceback" not in said


@pytest.mark.parametrize("around", ["nullcontext()", "resumable(Path('.'), 'the same command with --resume')"])
def test_what_an_interrupted_import_raises_instead_is_an_interruption(tmp_path, around):
    code = (
        "import os, signal, sys, time\nfrom contextlib import nullcontext\nfrom pathlib import Path\n"
        "from autoprune.cli import main\nfrom autoprune.cli.stopping import resumable\n"
        "import autoprune.cli.main as program\n"
        "class Command:\n"
        "    def main(self, **_):\n"
        f"        with {around}:\n"
        "            try:\n                os.kill(os.getpid(), signal.SIGINT)\n                time.sleep(5)\n"
        "            except KeyboardInterrupt:\n                raise ImportError('half imported')\n"
        "program.typer.main.get_command = lambda app: Command()\n"
        "sys.argv = ['autoprune', 'x']\nmain()\n"
    )
    process = started(tmp_path, code=code)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.startswith("autoprune: interrupted") and "Traceback" not in said


def test_handlers_are_put_back(autoprune):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.unraisablehook
    assert autoprune("--version").code == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.unraisablehook) == before


def test_an_interrupt_becomes_ours_and_names_the_run(tmp_path):
    from autoprune.cli.stopping import resumable

    (tmp_path / "experiment.yaml").touch()
    with (
        pytest.raises(Interrupted, match="keeps what is finished: the same command goes on"),
        resumable(tmp_path, "the same command"),
    ):
        raise KeyboardInterrupt
    with pytest.raises(Interrupted, match="nothing had been started"), resumable(tmp_path / "none", "it"):
        raise KeyboardInterrupt
