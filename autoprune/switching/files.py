"""A network of several widths on disk: dense weights, gate, and for every narrow width its policy and weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.dynamic_networks.files import NetworkFile, expected_in
from autoprune.dynamic_networks.flow import flow_of
from autoprune.dynamic_networks.stages import cut_at
from autoprune.models import load_weights, save_weights
from autoprune.space import Policy
from autoprune.switching.gate import WidthGate
from autoprune.switching.network import SwitchNetwork, Width, tail_of
from autoprune.techniques.apply import apply

__all__ = ["SWITCH", "load_switch", "save_switch"]

SWITCH = NetworkFile("switch.json", "autoprune.switch/1", "file of widths")


def save_switch(
    network: SwitchNetwork, dense: nn.Module, policies: Sequence[Policy], smalls: Sequence[nn.Module], folder: Path
) -> None:
    """Write what `load_switch` reads.

    Args:
        network: The network.
        dense: The dense one.
        policies: What each width's network is cut by.
        smalls: The widths' whole networks.
        folder: The run.
    """
    save_weights(network.gate.state_dict(), folder / "gate.safetensors")
    for number, (policy, small) in enumerate(zip(policies, smalls, strict=True)):
        policy.save(folder / f"width_{number}.json")
        save_weights(small.state_dict(), folder / f"width_{number}.safetensors")
    content: dict[str, Any] = {
        "node": network.node,
        "shape": list(network.gate.hidden.shape),
        "widths": [{"name": each.name, "threshold": each.threshold} for each in network.widths],
    }
    SWITCH.write(network, dense, folder, content)


def load_switch(dense: nn.Module, example: Any, folder: Path) -> SwitchNetwork:
    """The network of a run.

    Args:
        dense: The dense network with any weights; left as it is.
        example: An input, or several as `as_example` takes them.
        folder: The run.

    Raises:
        InputError: If a file is missing or does not fit; file and field are named.
    """
    content = SWITCH.read(folder)
    model = SWITCH.weights(dense, folder)
    with SWITCH.fields(folder):
        node, shape = str(content["node"]), tuple(map(int, content["shape"]))
        rows = [(str(row["name"]), float(row["threshold"])) for row in content["widths"]]
        expected = expected_in(content)
    gate = WidthGate(shape, len(rows))
    load_weights(gate, folder / "gate.safetensors")
    flow = flow_of(model, example)
    trunk = cut_at(flow, [node])[0]
    widths = []
    for number, (name, threshold) in enumerate(rows):
        small = apply(model, Policy.load(folder / f"width_{number}.json"), example)
        load_weights(small, folder / f"width_{number}.safetensors")
        tail = tail_of(flow, node, trunk, flow_of(small.eval(), example))
        with SWITCH.fields(folder):
            widths.append(Width(name, tail, threshold))
    return SwitchNetwork(flow, node, gate.eval(), widths, expected=expected).eval()
