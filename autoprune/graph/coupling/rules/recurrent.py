"""Rules of recurrent layers: one hidden width for all gates, layers and directions."""

from __future__ import annotations

import numpy as np
from torch.fx import Node

from autoprune.graph.coupling.atoms import Atoms
from autoprune.graph.coupling.flow import Flow, Result, Unknown, size_of
from autoprune.graph.coupling.rule_table import Arguments, rule
from autoprune.graph.coupling.walk import Walk

__all__: list[str] = []


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def recurrent(walk: Walk, node: Node, args: Arguments) -> Result:
    """Weights come as (input, hidden[, two biases]) a layer and direction, gate under gate; all have one width."""
    x, weights = walk.need(args["input"]), [walk.need(part) for part in args.get("params") or ()]
    directions = 2 if args.get("bidirectional") else 1
    many = 4 if args.get("has_biases") else 2
    if not weights or len(weights) != many * directions * int(args["num_layers"]):
        raise Unknown  # packed sequences; an LSTM with a projection
    units = _units(weights[1])
    below = x.dims[-1]
    for start in range(0, len(weights), many):
        if start and start % (many * directions) == 0:
            below = None if units is None else np.tile(units, directions)
        _cell(walk, node, below, units, weights[start : start + many])
    states = args["hx"] if isinstance(args["hx"], list | tuple) else [args["hx"]]
    for state in states:
        walk.tie(units, walk.need(state).dims[-1], node)
    walk.note_attributes(node, (weights[0],), input_size=x.dims[-1], hidden_size=units)
    return _results(walk, node, x, weights, units, directions)


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def cell(walk: Walk, node: Node, args: Arguments) -> Result:
    """One step."""
    x, given = walk.need(args["input"]), [walk.flow(args.get(name)) for name in ("w_ih", "w_hh", "b_ih", "b_hh")]
    weights = [flow for flow in given if flow is not None]
    units = _units(weights[1])
    _cell(walk, node, x.dims[-1], units, weights)
    states = args["hx"] if isinstance(args["hx"], list | tuple) else [args["hx"]]
    for state in states:
        walk.tie(units, walk.need(state).dims[-1], node)
    walk.note_attributes(node, (weights[0],), input_size=x.dims[-1], hidden_size=units)
    return _results(walk, node, x, weights, units, 1)


def _units(hidden: Flow) -> Atoms | None:
    """The atoms of the hidden width: the columns of a (gates x hidden, hidden) weight."""
    if hidden.tensor is None or len(hidden.shape) != 2:
        raise Unknown
    return hidden.dims[1]


def _cell(walk: Walk, node: Node, below: Atoms | None, units: Atoms | None, weights: list[Flow]) -> None:
    """Tie one layer and direction: rows of every gate are the units, columns read the layer below and the past."""
    inputs, hidden = weights[:2]
    walk.tie(below, inputs.dims[1], node)
    for columns in (inputs.dims[1], hidden.dims[1]):
        walk.table.read(columns)
    walk.tie(units, hidden.dims[1], node)
    for flow in weights:
        rows = flow.dims[0]
        gates = None if units is None else np.tile(units, flow.shape[0] // len(units))
        walk.tie(gates, rows, node)
        if len(flow.shape) == 2:
            walk.table.made(rows)


def _results(
    walk: Walk, node: Node, x: Flow, weights: list[Flow], units: Atoms | None, directions: int
) -> tuple[Flow, ...] | Flow:
    """The states after each step (directions side by side) and the last ones."""
    value = node.meta["val"]
    parts = value if isinstance(value, list | tuple) else (value,)
    wide = None if units is None else np.tile(units, directions)
    flows = []
    for part in parts:
        shape = tuple(map(size_of, part.shape))
        width = wide if wide is not None and shape[-1] == len(wide) else units
        flows.append(Flow(shape, (*(None,) * (len(shape) - 1), width)))
    walk.record(node, "other", [x], flows[0], weights)
    return tuple(flows) if isinstance(value, list | tuple) else flows[0]
