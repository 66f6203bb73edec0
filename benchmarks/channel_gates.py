"""Where gathering channels pays: two residual blocks with shares of their inner channels gathered, and prepared.

python benchmarks/channel_gates.py
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from autoprune.channel_gating.onnx_file import channel_file, channel_parts, narrow_file
from autoprune.channel_gating.pairs import pairs_of
from autoprune.dynamic_networks.flow import flow_of
from autoprune.gating.gate import BlockGate
from autoprune.hardware import Protocol, get_target

_SHARES = (0.25, 0.5, 0.75, 1.0)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """The block's value."""
        return torch.relu(x + self.second(torch.relu(self.first(x))))


def main() -> None:
    """A line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="16@28,128@28", help="channels@side of the maps, with commas")
    given = parser.parse_args()
    names = [f"{share:.0%}" for share in _SHARES]
    print(f"| channels @ map | dense | gathered {', '.join(names)} | prepared {', '.join(names[:-1])} |")
    print("|---|---|---|---|")
    for size in given.sizes.split(","):
        width, side = map(int, size.split("@"))
        dense, shares = _times(width, side)
        gathered, prepared = shares[: len(_SHARES)], shares[len(_SHARES) :]
        cells = (", ".join(f"{each:.1%}" for each in row) for row in (gathered, prepared))
        print(f"| {width} @ {side}x{side} | {dense:.3f} ms | {' | '.join(cells)} |", flush=True)


def _times(width: int, side: int) -> tuple[float, list[float]]:
    """Milliseconds of the dense network on onnxruntime, one thread; shares of it that the files take."""
    torch.manual_seed(0)
    blocks = (_Block(width), _Block(width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    model, x = (
        nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), *blocks).eval(),
        torch.zeros(1, 3, side, side),
    )
    flow = flow_of(model, x)
    pairs = pairs_of(flow)
    parts = channel_parts(flow, pairs, [BlockGate(pair.shape, pair.width).eval() for pair in pairs])
    counts = [[pair.at(share) for pair in pairs] for share in _SHARES]
    files = [channel_file(parts, each, 0.0, each) for each in counts] + [narrow_file(parts, c) for c in counts[:-1]]
    target = get_target("onnxruntime")
    dense, *others = (each.ms for each in target.time([target.pack(model, x), *files], Protocol.networks()))
    return dense, [ms / dense for ms in others]


if __name__ == "__main__":
    main()
