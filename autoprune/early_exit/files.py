"""A dynamic network on disk: the dense weights, the heads, and where its exits are, with which thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.dynamic_networks.files import NetworkFile, expected_in
from autoprune.dynamic_networks.flow import flow_of
from autoprune.early_exit.heads import ExitHead
from autoprune.early_exit.network import DynamicNetwork, Exit
from autoprune.early_exit.places import Place
from autoprune.models import load_weights, read_weights, save_weights

__all__ = ["EXITS", "load_heads", "load_network", "save_heads", "save_network"]

EXITS = NetworkFile("exits.json", "autoprune.exits/1", "file of exits")


def save_heads(heads: Sequence[ExitHead], path: Path) -> None:
    """Write the linear layers and scorers of all heads."""
    save_weights(nn.ModuleList(heads).state_dict(), path)


def load_heads(places: Sequence[Place], classes: int, path: Path) -> list[ExitHead]:
    """The heads of places, as `save_heads` wrote them; those of earlier versions have no scorers."""
    scored = any(".scorer." in name for name in read_weights(path))
    heads = nn.ModuleList(ExitHead(place.shape, classes, scored=scored) for place in places)
    load_weights(heads, path)
    return [head.eval() for head in heads if isinstance(head, ExitHead)]


def save_network(network: DynamicNetwork, dense: nn.Module, folder: Path) -> None:
    """Write what `load_network` reads.

    Args:
        network: With its exits.
        dense: The network that they belong to.
        folder: The run.
    """
    save_weights(nn.ModuleList(network.heads).state_dict(), folder / "exit_heads.safetensors")
    exits = [
        {"place": each.place, "node": each.node, "threshold": each.threshold, "shape": list(head.shape)}
        for each, head in zip(network.exits, network.heads, strict=True)
        if isinstance(head, ExitHead)
    ]
    content = {"confidence": network.confidence, "exits": exits, "deadlines_ms": list(network.deadlines_ms)}
    EXITS.write(network, dense, folder, content)


def load_network(dense: nn.Module, example: Any, folder: Path) -> DynamicNetwork:
    """The dynamic network of a run.

    Args:
        dense: The dense network with any weights; left as it is.
        example: An input, or several as `as_example` takes them.
        folder: The run.

    Raises:
        InputError: If a file is missing or does not fit; file and field are named.
    """
    content = EXITS.read(folder)
    model = EXITS.weights(dense, folder)
    biases = [
        value for name, value in read_weights(folder / "exit_heads.safetensors").items() if name.endswith("linear.bias")
    ]
    with EXITS.fields(folder):
        rows = list(content["exits"])
        exits = [Exit(str(row["place"]), str(row["node"]), float(row["threshold"])) for row in rows]
        places = [Place(str(row["place"]), str(row["node"]), tuple(map(int, row["shape"])), 0.0) for row in rows]
        confidence = str(content["confidence"])
        expected = expected_in({"expected": (), **content})
        deadlines = tuple(map(float, content.get("deadlines_ms") or ()))
    heads = load_heads(places, len(biases[0]) if biases else 0, folder / "exit_heads.safetensors")
    flow = flow_of(model, example)
    return DynamicNetwork(flow, exits, heads, confidence, expected=expected, deadlines_ms=deadlines).eval()
