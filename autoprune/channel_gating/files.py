"""A network with gated channels on disk: its weights, which were trained with the gates, the gates, the threshold."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.channel_gating.network import ChannelNetwork
from autoprune.channel_gating.pairs import ChannelPair
from autoprune.dynamic_networks.files import NetworkFile, expected_in
from autoprune.dynamic_networks.flow import flow_of
from autoprune.errors import InputError
from autoprune.gating.gate import BlockGate
from autoprune.models import load_weights, save_weights

__all__ = ["CHANNELS", "load_channels", "save_channels"]

CHANNELS = NetworkFile("channels.json", "autoprune.channels/1", "file of channels")


def save_channels(network: ChannelNetwork, trained: nn.Module, folder: Path) -> None:
    """Write what `load_channels` reads.

    Args:
        network: The network.
        trained: The dense network with the weights that were trained with the gates.
        folder: The run.
    """
    save_weights(network.gates.state_dict(), folder / "gates.safetensors")
    content = {
        "pairs": [asdict(pair) | {"cap": cap} for pair, cap in zip(network.pairs, network.caps, strict=True)],
        "threshold": network.threshold,
    }
    CHANNELS.write(network, trained, folder, content)


def load_channels(dense: nn.Module, example: Any, folder: Path) -> ChannelNetwork:
    """The network of a run.

    Args:
        dense: The dense network with any weights; left as it is.
        example: An input, or several as `as_example` takes them.
        folder: The run.

    Raises:
        InputError: If a file is missing or does not fit; file and field are named.
    """
    content = CHANNELS.read(folder)
    flow = flow_of(CHANNELS.weights(dense, folder), example)
    with CHANNELS.fields(folder):
        pairs = [
            ChannelPair(
                str(row["name"]),
                str(row["first"]),
                str(row["second"]),
                tuple(map(int, row["shape"])),
                int(row["width"]),
            )
            for row in content["pairs"]
        ]
        caps = [int(row["cap"]) for row in content["pairs"]]
        threshold, expected = float(content["threshold"]), expected_in(content)
        known = {node.name for node in flow.nodes}
        if missing := [pair.name for pair in pairs if not {pair.first, pair.second} <= known]:
            raise InputError(f"the network has no convolution {missing[0]}; it is not the one that was trained")
    gates = [BlockGate(pair.shape, pair.width) for pair in pairs]
    load_weights(nn.ModuleList(gates), folder / "gates.safetensors")
    with CHANNELS.fields(folder):
        return ChannelNetwork(flow, pairs, gates, caps, threshold, expected=expected).eval()
