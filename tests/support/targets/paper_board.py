"""Devices whose latencies are a formula, and which fail when they are told to: one behind a pipe, one in our worker.

The environment variable PAPER_BOARD names a folder: `fault` in it is JSON {"kind": ..., "at": number of the request};
`requests` holds a line for every request that was answered: how many networks it timed.
"""

import itertools
import json
import os
import signal
import sys
from pathlib import Path

from autoprune.hardware import LocalTarget
from autoprune.hardware.targets.pipe import PipeTarget


class _Formula:
    """Packs what a thing takes by the formula of `formula_target`."""

    channel_multiple = 4
    fused = frozenset({"batch_norm", "relu", "add"})

    def available(self):
        return None

    def versions(self):
        return {"runtime": "formula 1"}

    def pack(self, model, example):
        from tests.support.targets.formula_target import MadeUpTarget

        return MadeUpTarget.pack(self, model, example)

    def pack_layer(self, layer, copies):
        from tests.support.targets.formula_target import CONSTANT, stairs

        return json.dumps({"ms": CONSTANT + copies * stairs(layer)}).encode()


class PaperBoard(PipeTarget):
    name = "paper"
    channel_multiple, fused = _Formula.channel_multiple, _Formula.fused
    pack, pack_layer = _Formula.pack, _Formula.pack_layer
    patience = 2.0

    def command(self):
        return [sys.executable, str(Path(__file__).with_name("paper_board_worker.py")), os.environ["PAPER_BOARD"]]


class NotThere(PaperBoard):
    name = "not-there"

    def command(self):
        return ["/no/such/program"]


class PaperWorker(_Formula, LocalTarget):
    """The same in a worker of ours, which kills itself when it has loaded so many things."""

    name = "paper-worker"

    def prepare(self):
        self.loaded = 0

    def clock(self):
        return self

    def sample(self, call, loops):
        return call() * loops, True

    def load(self, payload):
        self.loaded += 1
        fault = Path(os.environ["PAPER_BOARD"]) / "fault"
        if fault.exists() and self.loaded >= json.loads(fault.read_text())["at"]:
            os.kill(os.getpid(), signal.SIGKILL)
        seconds = json.loads(payload)["ms"] * 1e-3
        return lambda: seconds


def network():
    """Three decisions' worth of convolutions for the digits."""
    from torch import nn

    widths = [1, 8, 16, 16]
    convolutions = [nn.Conv2d(i, o, 3, padding=1) for i, o in itertools.pairwise(widths)]
    body = [layer for convolution in convolutions for layer in (convolution, nn.ReLU())]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
