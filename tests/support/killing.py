"""A process that runs jobs in children which send themselves a signal (kill -9) at a chosen moment.

Everything is imported once, and every job runs in a fork of that process: a job then costs what it does, not what it
imports. Reads a job a line: {"arguments": [...], "kill": [label, n], [n] or null, "log": file, "margin": share,
"entries": number, "signal": number}. Answers with the exit code, negative for a signal, and the seconds from the
moment to the end. The labels of all moments that the child passed stand in the log.

A moment is a point at which a kill could hurt: a file about to be written, about to be renamed, just renamed, half an
episode's line, an episode, an epoch, a timing.
"""

import dataclasses
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

_UNIQUE = re.compile(r"[0-9a-f]{12}-\d+-\d+|\d+-[0-9a-f]{12}|(?<=profile)-\d+")  # of policies: not part of a label


class Moments:
    def __init__(self, job):
        self.kill, self.log, self.signal, self.seen = job["kill"], job["log"], job["signal"], {}

    def __call__(self, label):
        if self.due(label):
            os.kill(os.getpid(), self.signal)

    def due(self, label):
        label = _UNIQUE.sub("*", label)
        self.seen[label] = self.seen.get(label, 0) + 1
        with Path(self.log).open("a") as stream:
            stream.write(label + "\n")
        return self.kill == [label, self.seen[label]] or (self.kill or [None])[0] == sum(self.seen.values())


def instrument(moment, margin, entries):
    from autoprune.hardware.timing.effort import EFFORTS
    from autoprune.pipeline.finish import trainings
    from autoprune.pipeline.search import finalists as verify
    from autoprune.pipeline.search import play as searching
    from autoprune.run.directory import RunDir
    from autoprune.techniques.scoring import Scorer
    from autoprune.training import Trainer

    trainings._SAVE_EVERY = -1.0
    searching._CHECKPOINT_EVERY = 4
    verify._MARGIN = margin
    EFFORTS["normal"] = dataclasses.replace(EFFORTS["normal"], entries=entries)
    make, rename = tempfile.mkstemp, Path.replace
    append, network, epoch = RunDir.append_row, Scorer.network, Trainer._one_epoch

    def mkstemp(*given, **named):
        made = make(*given, **named)
        moment("write " + str(named.get("prefix", "")).strip(".").removesuffix("."))
        return made

    def replace(self, goal):
        moment(f"rename {Path(goal).name}")
        rename(self, goal)
        moment(f"renamed {Path(goal).name}")

    def append_row(self, name, row):
        if moment.due("torn line"):
            with self.file(name).open("a") as stream:
                stream.write(json.dumps(row)[: 10 + row.get("episode", row.get("step", row.get("kept")))])
            os.kill(os.getpid(), moment.signal)
        append(self, name, row)
        moment(Path(name).stem.removesuffix("s"))

    def scored(self, choices):
        moment("scoring")
        return network(self, choices)

    def one_epoch(self, *given):
        moment("epoch")
        return epoch(self, *given)

    tempfile.mkstemp, Path.replace, RunDir.append_row = mkstemp, replace, append_row
    Scorer.network, Trainer._one_epoch = scored, one_epoch
    from tests.support.tiny_job import Formula

    time = Formula.time

    def timed(self, *given):
        moment("timing")
        return time(self, *given)

    Formula.time = timed


def child(job):
    output = os.open(job["log"] + ".txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = 1
    try:
        from autoprune.cli.main import run

        instrument(Moments(job), job["margin"], job["entries"])
        code = run(job["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main():
    import torch

    torch.set_num_threads(1)
    from torch.utils.tensorboard import SummaryWriter  # noqa: F401

    import autoprune.cli.main
    import autoprune.hardware.tables.file
    import autoprune.hardware.tables.profile
    import autoprune.pipeline.jobs.compress
    import autoprune.pipeline.load
    import autoprune.reports.html.pages  # noqa: F401 - so that no job imports anything
    from autoprune import agents
    from autoprune.graph import analyse
    from tests.support import tiny_job

    for name in ("ddpg", "optuna", "random"):
        agents.get(name)
    analyse(tiny_job.network(), torch.zeros(1, 1, 8, 8))  # kept by the engine: the children find it there
    for line in sys.stdin:
        job = json.loads(line)
        Path(job["log"]).write_text("")
        pid = os.fork()
        if pid == 0:
            child(job)
        _, status = os.waitpid(pid, 0)
        since = time.time() - Path(job["log"]).stat().st_mtime
        print(json.dumps([os.waitstatus_to_exitcode(status), since]), flush=True)


if __name__ == "__main__":
    main()
