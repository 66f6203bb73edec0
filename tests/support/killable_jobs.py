"""A shop of tiny jobs, and what of a run must be the same whatever happened on the way."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from tests.support.command_line import TINY
from tests.support.paths import SUPPORT, importing

JOB = [*TINY]
JOB += ["--train-epochs", "3", "--finetune-epochs", "4", "--finalists", "3", "--episodes", "14", "--warmup", "4"]


class Shop:
    """Runs jobs, each in a child of one process that has everything imported."""

    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "moments.log"
        environment = importing(OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
        self.process = subprocess.Popen(
            [sys.executable, str(SUPPORT / "killing.py")],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, kill=None, margin=0.99, entries=800, by=signal.SIGKILL, command=("compress", *JOB)):
        """Exit code, negative for a signal."""
        Path(f"{self.log}.txt").unlink(missing_ok=True)
        job = {"arguments": [*command, *arguments], "kill": kill, "margin": margin, "signal": by}
        job["entries"] = entries
        job["log"] = str(self.log)
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        code, self.seconds = json.loads(self.process.stdout.readline())
        return code

    def moments(self):
        return self.log.read_text().splitlines()

    def said(self):
        return Path(f"{self.log}.txt").read_text()

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def content(run):
    """Everything in a run that must come out the same: all but times, logs and pictures of them."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.is_dir() or name.startswith("tensorboard") or name in (".lock", "report.html"):
            continue
        if path.suffix == ".safetensors" and name != "checkpoint/agent.safetensors":
            found[name] = path.read_bytes()
        elif path.suffix == ".jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in row.items() if k not in ("seconds", "cached", "signals")} for row in rows]
        elif path.suffix == ".json":
            kept = json.loads(path.read_text()).items()
            told = {k: v for k, v in kept if k != "seconds" and not k.endswith(" watch")}  # sensors are timings
            found[name] = {k: _without_seconds(v) if k.startswith("timing session ") else v for k, v in told.items()}
        elif name == "experiment.yaml":
            found[name] = yaml.safe_load(path.read_text())
            found[name]["settings"].pop("run")
        else:
            found[name] = None
    return found


def _without_seconds(session):
    return {name: value for name, value in session.items() if name != "seconds"}


def assert_same(run, whole):
    ours, theirs = content(run), content(whole)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == value, f"{name} differs"
