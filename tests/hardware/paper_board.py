"""A device behind a pipe whose latencies are a formula, and which fails when it is told to.

The environment variable PAPER_BOARD names a folder: `fault` in it is JSON {"kind": ..., "at": number of the request};
`requests` holds a line for every request that was answered: how many networks it timed.
"""

import itertools
import json
import os
import sys
from pathlib import Path

from made_up import CONSTANT, MadeUpTarget, stairs
from torch import nn

from autoprune.hardware.pipe import PipeTarget


class PaperBoard(PipeTarget):
    name = "paper"
    granule = 4
    fused = MadeUpTarget.fused
    patience = 2.0

    def command(self):
        return [sys.executable, str(Path(__file__).with_name("paper_board_worker.py")), os.environ["PAPER_BOARD"]]

    def pack(self, model, example):
        return MadeUpTarget.pack(self, model, example)

    def pack_layer(self, layer, copies):
        return json.dumps({"ms": CONSTANT + copies * stairs(layer)}).encode()


class NotThere(PaperBoard):
    name = "not-there"

    def command(self):
        return ["/no/such/program"]


def network():
    """Three decisions' worth of convolutions for the digits."""
    widths = [1, 8, 16, 16]
    convolutions = [nn.Conv2d(i, o, 3, padding=1) for i, o in itertools.pairwise(widths)]
    body = [layer for convolution in convolutions for layer in (convolution, nn.ReLU())]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
