"""Killed at any moment and resumed, a run ends as the one that was never interrupted: every file of it, bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
JOB = ["--model", "tiny_job:network", "--data", "tiny_job:loaders", "--target", "tiny_job:Formula"]
JOB += ["--train-epochs", "3", "--finetune-epochs", "4", "--finalists", "3", "--episodes", "14", "--warmup", "4"]


class Shop:
    """Runs jobs, each in a child of one process that has everything imported."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copy(HERE / "tiny_job.py", folder)
        self.log = folder / "moments.log"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "killing.py")],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, kill=None, margin=0.99):
        """Exit code, negative for a signal."""
        job = {"arguments": ["compress", *JOB, *arguments], "kill": kill, "log": str(self.log), "margin": margin}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def moments(self):
        return self.log.read_text().splitlines()

    def said(self):
        return Path(f"{self.log}.txt").read_text()[-3000:]

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    opened = Shop(tmp_path_factory.mktemp("shop"))
    yield opened
    opened.close()


def content(run):
    """Everything in a run that must come out the same: all but times, logs and pictures of them."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.is_dir() or name.startswith("tensorboard") or name in (".lock", "report.html"):
            continue
        if path.suffix == ".safetensors" and name != "checkpoint/agent.safetensors":
            found[name] = path.read_bytes()
        elif name == "episodes.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in row.items() if k not in ("seconds", "cached")} for row in rows]
        elif path.suffix == ".json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k != "seconds"}
        elif name == "experiment.yaml":
            found[name] = yaml.safe_load(path.read_text())
            found[name]["settings"].pop("run")
        else:
            found[name] = None
    return found


def assert_same(run, whole):
    ours, theirs = content(run), content(whole)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == value, f"{name} differs"


def chain(shop, name, kills, *arguments, margin=0.99):
    """Start a run, kill it at these moments one after the other, and resume it to its end; how many kills hit."""
    hit = 0
    for kill in [*kills, None]:
        code = shop.run(*arguments, "--run", name, "--resume", kill=kill, margin=margin)
        if code == 0:
            break
        assert code == -signal.SIGKILL, shop.said()
        hit += 1
    assert code == 0, shop.said()
    return hit


def test_four_kills_leave_no_trace(shop):
    """A latency budget that the first finished network misses: the limit is tightened and another one is taken."""
    settings = ["--agent", "ddpg", "--latency", "70%", "--seed", "1"]
    assert shop.run(*settings, "--run", "whole") == 0, shop.said()
    assert "the limit is tightened and another policy chosen" in shop.said()
    kills = [["rename dense.safetensors", 1], ["torn line", 9], ["renamed journal.json", 3], ["epoch", 7]]
    assert chain(shop, "killed", kills, *settings) == 4
    assert_same(shop.folder / "runs" / "killed", shop.folder / "runs" / "whole")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("settings", "margin"),
    [
        (["--agent", "ddpg", "--latency", "70%", "--seed", "1"], 0.99),
        (["--agent", "optuna", "--latency", "60%"], 0.99),
        (["--agent", "random", "--latency", "60%"], 0.9),  # no policy passes at first: limits are tightened
        (["--agent", "ddpg", "--flops", "40%"], 0.99),
    ],
    ids=["ddpg-latency", "optuna-latency", "random-tightened", "ddpg-flops"],
)
def test_kills_at_every_kind_of_moment_leave_no_trace(shop, settings, margin, request):
    whole = f"whole-{request.node.callspec.id}"
    assert shop.run(*settings, "--run", whole, margin=margin) == 0, shop.said()
    passed = shop.moments()
    labels = list(dict.fromkeys(passed))  # in the order of the stages
    draw = random.Random(0)
    kills = 0
    for part in range(4):
        moments = [[label, draw.randint(1, min(2, passed.count(label)))] for label in labels[part::4]]
        kills += chain(shop, f"killed-{whole}-{part}", moments, *settings, margin=margin)
        assert_same(shop.folder / "runs" / f"killed-{whole}-{part}", shop.folder / "runs" / whole)
    at_random = [[draw.randint(1, len(passed) // 3)] for _ in range(6)]
    kills += chain(shop, f"random-{whole}", at_random, *settings, margin=margin)
    assert_same(shop.folder / "runs" / f"random-{whole}", shop.folder / "runs" / whole)
    print(f"{request.node.callspec.id}: {kills} kills at {len(labels)} kinds of moments")
    assert kills >= 20
