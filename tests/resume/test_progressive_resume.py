"""A progressive run that is killed in any step and resumed ends as the one that was never interrupted."""

import signal

import pytest

from tests.support.command_line import TINY
from tests.support.killable_jobs import Shop, assert_same

COMMAND = ["progressive", *TINY]
COMMAND += ["--train-epochs", "2", "--finetune-epochs", "2", "--step", "20%", "--latency", "60%"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    opened = Shop(tmp_path_factory.mktemp("shop"))
    for seed in range(12):  # processors round differently: which seed has a step of several measurements is theirs
        opened.job = [*COMMAND, "--seed", str(seed)]
        assert opened.run("--run", "whole", "--overwrite", command=opened.job) == 0, opened.said()
        if "it shrinks further" in opened.said():
            break
    assert "it shrinks further" in opened.said()
    yield opened
    opened.close()


def test_kills_in_the_steps_leave_no_trace(shop):
    """In a measurement, in fine-tuning, before and after weights are there, in the middle of a step's line."""
    kills = [
        ["torn line", 1],
        ["scoring", 1],
        ["timing", 2],
        ["epoch", 1],
        ["renamed step-0001.safetensors", 1],
        ["torn line", 1],
        ["step", 1],
        ["renamed journal.json", 2],
        ["scoring", 2],
        ["renamed step-0002.pt", 1],
        ["rename finetuned.safetensors", 1],
    ]
    for number, kill in enumerate(kills):
        code = shop.run("--run", "killed", "--resume", kill=kill, command=shop.job)
        assert code == -signal.SIGKILL, (number, kill, shop.said())
    assert shop.run("--run", "killed", "--resume", command=shop.job) == 0, shop.said()
    assert_same(shop.folder / "runs" / "killed", shop.folder / "runs" / "whole")


def test_an_interrupted_step_says_how_to_go_on_and_goes_on(shop):
    for moment in (["scoring", 4], ["epoch", 2]):
        code = shop.run("--run", "stopped", "--resume", kill=moment, by=signal.SIGINT, command=shop.job)
        assert code == 130, shop.said()
        ours = [line for line in shop.said().splitlines() if line.startswith("autoprune: ")]
        wanted = "autoprune: interrupted; runs/stopped keeps what is finished: the same command with --resume goes on"
        assert ours == [wanted]
    assert shop.run("--run", "stopped", "--resume", command=shop.job) == 0, shop.said()
    assert_same(shop.folder / "runs" / "stopped", shop.folder / "runs" / "whole")
