"""Predicted against measured latency of ResNet-20 without some of its blocks.

    python benchmarks/depth_latency.py [TARGET]

The widths stay; the latency table knows one layer of a stage, and what a dropped block takes with it.
"""

from __future__ import annotations

import sys

import torch

from autoprune.graph import analyse, cut
from autoprune.hardware import ProfileSettings, get_target, measure, profile
from autoprune.models import resnet20
from autoprune.space import SpaceConstraints
from autoprune.techniques.space import space_of


def main(name: str) -> None:
    """Profile, drop, time in one session, print."""
    model, x, target = resnet20(in_channels=1).eval(), torch.randn(1, 1, 28, 28), get_target(name)
    analysis = analyse(model, x)
    space = space_of(analysis, SpaceConstraints(granularity=64, kinds=("channels", "block")))
    table = profile(model, analysis, space, x, target, settings=ProfileSettings(fit_runs=8, held_out_runs=4))
    print(table.summary())
    names = [block.name for block in analysis.blocks]
    policies = [space.complete(dict.fromkeys(gone, 0)) for gone in ([], names[:1], names[::2], names[3:], names)]
    networks = [cut(model, analysis, {n: range(units) for n, units in choices.items()}) for choices in policies]
    for choices, timed in zip(policies, measure(networks, x, target), strict=True):
        dropped, predicted = sum(choices[n] == 0 for n in names), table.predict(choices)
        error = predicted / timed.ms - 1
        print(
            f"{dropped} of {len(names)} dropped: predicted {predicted:.4f} ms, measured {timed.ms:.4f} ms, {error:+.1%}"
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "onnxruntime")
