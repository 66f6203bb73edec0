"""A job under torchrun: trainings of several processes, one of which is killed."""

import subprocess
import sys

import pytest

from tests.support.processes import ONE_THREAD

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

pytestmark = [pytest.mark.distributed, pytest.mark.slow]


def test_two_processes_train_what_one_does():
    done = subprocess.run(
        [*TORCHRUN, "-m", "tests.support.ranked"], env=ONE_THREAD, capture_output=True, text=True, check=True
    )
    words = [line.split() for line in done.stdout.splitlines()]
    distance = {line[0]: float(line[1]) for line in words if line[0] in ("Plain", "Norms")}
    assert distance["Plain"] <= 1e-6
    together, alone = (float(word) for word in next(line[1:] for line in words[3:] if line[0] == "accuracies"))
    spread = (alone * (1 - alone) / 512) ** 0.5
    assert abs(together - alone) <= spread  # with BatchNorm, whose statistics are of half a batch


def job(folder, **environment):
    words = {
        "model": "tests.support.tiny_job:network", "data": "tests.support.ranked:loaders",
        "target": "tests.support.tiny_job:Formula", "flops": "40%", "granularity": "1", "train-epochs": "1",
        "train-threads": "1", "agent": "random", "episodes": "8", "finalists": "1", "finetune-epochs": "10",
        "run": str(folder),
    }  # fmt: skip
    options = [word for name, value in words.items() for word in (f"--{name}", value)]
    return subprocess.run(
        [*TORCHRUN, "--max-restarts", "1", "-m", "--", "autoprune", "compress", *options, "--resume"],
        env={**ONE_THREAD, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_job_whose_process_is_killed_goes_on_from_its_checkpoint_and_ends_as_undisturbed(tmp_path):
    whole = job(tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    mark, run = tmp_path / "mark", tmp_path / "killed"
    killed = job(
        run,
        AUTOPRUNE_TEST_MARK=str(mark),
        AUTOPRUNE_TEST_CHECKPOINT=str(run / "checkpoint"),
        AUTOPRUNE_TEST_SLOWNESS="0.6",  # so that there is a checkpoint, which is written every five seconds
    )
    assert killed.returncode == 0, killed.stderr
    assert mark.exists() and "another process of the training has ended; --resume goes on" in killed.stderr
    for name in ("finetuned.safetensors", "policy.json"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
