"""A network that skips on disk: its weights, which were trained with the gates, the gates, and their thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.dynamic_networks.files import NetworkFile, expected_in
from autoprune.dynamic_networks.flow import flow_of, sizes_of
from autoprune.gating.blocks import Residual, without
from autoprune.gating.gate import BlockGate
from autoprune.gating.network import SkipNetwork
from autoprune.models import load_weights, save_weights

__all__ = ["GATES", "load_skips", "save_skips"]

GATES = NetworkFile("gates.json", "autoprune.gates/1", "file of gates")


def save_skips(network: SkipNetwork, dropped: Sequence[Residual], trained: nn.Module, folder: Path) -> None:
    """Write what `load_skips` reads.

    Args:
        network: The network.
        dropped: Blocks that it never computes.
        trained: The dense network with the weights that were trained with the gates.
        folder: The run.
    """
    save_weights(network.gates.state_dict(), folder / "gates.safetensors")
    gated = zip(network.blocks, network.thresholds, strict=True)
    content = {
        "blocks": [asdict(block) | {"threshold": threshold} for block, threshold in gated],
        "dropped": [asdict(block) for block in dropped],
    }
    GATES.write(network, trained, folder, content)


def load_skips(dense: nn.Module, example: Any, folder: Path) -> SkipNetwork:
    """The network of a run.

    Args:
        dense: The dense network with any weights; left as it is.
        example: An input, or several as `as_example` takes them.
        folder: The run.

    Raises:
        InputError: If a file is missing or does not fit; file and field are named.
    """
    content = GATES.read(folder)
    model = GATES.weights(dense, folder)
    with GATES.fields(folder):
        blocks, dropped = (_blocks(content[name]) for name in ("blocks", "dropped"))
        thresholds = [float(row["threshold"]) for row in content["blocks"]]
        expected = expected_in(content)
    flow = without(flow_of(model, example), dropped)
    sizes = {node.name: sizes_of(node) for node in flow.nodes}
    gates = nn.ModuleList(BlockGate(sizes.get(block.start) or ()) for block in blocks)
    load_weights(gates, folder / "gates.safetensors")
    own = [gate for gate in gates if isinstance(gate, BlockGate)]
    with GATES.fields(folder):
        return SkipNetwork(flow, blocks, own, thresholds, expected=expected).eval()


def _blocks(rows: Sequence[Mapping[str, Any]]) -> list[Residual]:
    return [Residual(str(row["name"]), str(row["start"]), str(row["end"]), bool(row["relu"])) for row in rows]
