"""The reference for widths that are normalised over: the dense network whose norms see the kept units only.

Silencing a unit's readers is not removing it where a LayerNorm lies in between: the others are still normalised
by it. Here the traced graph of the dense network runs node by node, and each norm over a width that shrinks is
computed over the kept entries; what it gives for the dropped ones is noise, which the silenced readers must not
let through. The trace itself is checked against the user's own forward before it is trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.fx import Interpreter, Node

from autoprune.graph.analysis import Index
from autoprune.graph.coupling.flow import Norm
from autoprune.graph.coupling.norms import NormLine
from autoprune.graph.coupling.rule_table import bound
from autoprune.graph.proof.network_copy import SEED
from autoprune.graph.trace.export import Trace
from autoprune.models.inputs.example import Example

__all__ = ["Reference"]


class Reference:
    """Runs the traced graph on the tensors of a dense network.

    Args:
        trace: The trace.
        lines: The norms over widths that may shrink.
        tensors: Qualified name -> parameter or buffer that is used now.
    """

    def __init__(self, trace: Trace, lines: Sequence[NormLine], tensors: Mapping[str, torch.Tensor]) -> None:
        self._trace = trace
        self._lines = {line.norm.node: line for line in lines}
        self._tensors = tensors

    def run(self, example: Example, kept: Mapping[str, Index]) -> list[torch.Tensor]:
        """The tensors of the model's output when only these units are kept."""
        mine = example.copied()
        given = iter(torch.utils._pytree.tree_leaves((mine.args, dict(mine.kwargs))))
        inputs = []
        for node in self._trace.graph.find_nodes(op="placeholder"):
            if node.name in self._trace.tensors:
                name = self._trace.tensors[node.name]
                tensor = self._tensors[name]
                inputs.append(tensor if name in self._trace.parameters else tensor.clone())  # the forward may write
            elif node.name in self._trace.constants:
                inputs.append(self._trace.constants[node.name])
            else:
                inputs.append(next(given))
        dtype = next((t.dtype for t in self._tensors.values() if t.is_floating_point()), torch.float32)
        places = {node: at for node, line in self._lines.items() if (at := line.kept(kept)) is not None}
        flat = _Masked(self._trace, self._lines, places, dtype).run(*inputs)
        return [flat[place] for place in self._trace.outputs]


class _Masked(Interpreter):
    """One run of the graph; floating-point casts go to the precision of the proof."""

    def __init__(
        self, trace: Trace, lines: Mapping[Node, NormLine], places: Mapping[Node, torch.Tensor], dtype: torch.dtype
    ) -> None:
        super().__init__(trace.module, garbage_collect_values=True)
        self._norms = {node: lines[node].norm for node in places}
        self._places = places
        self._dtype = dtype
        self._noise = torch.Generator().manual_seed(SEED)

    def run_node(self, n: Node) -> Any:
        """One operator; a norm over a width that shrinks only sees what is kept of it."""
        if "_assert" in str(n.target):
            return None
        if n in self._places:
            with torch.no_grad():
                return self._over_kept(self._norms[n], self._places[n])
        return super().run_node(n)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """An operator in the precision of the proof."""

        def cast(value: Any) -> Any:
            return self._dtype if isinstance(value, torch.dtype) and value.is_floating_point else value

        args, kwargs = torch.utils._pytree.tree_map_only(torch.dtype, cast, (args, kwargs))
        return super().call_function(target, args, kwargs)

    def _over_kept(self, norm: Norm, at: torch.Tensor) -> Any:
        arguments = bound(norm.node)
        arguments = {name: self.env[value] if isinstance(value, Node) else value for name, value in arguments.items()}
        source = "input" if "input" in arguments else "self"
        x = arguments[source]
        at = at.to(x.device)
        for name, dim in ((source, norm.axis), *norm.params):
            if arguments[name] is not None:
                arguments[name] = arguments[name].index_select(dim, at)
        if norm.sizes is not None:
            sizes = list(arguments[norm.sizes])
            sizes[norm.axis] = len(at)
            arguments[norm.sizes] = sizes
        small = norm.node.target(**arguments)  # type: ignore[operator]
        if not norm.keeps:
            return small
        # noise that the silenced readers must not let through; a weight is such a reader itself
        return self._fill(x.shape, zeros=norm.weight).to(small).index_copy(norm.axis, at, small)

    def _fill(self, shape: torch.Size, *, zeros: bool) -> torch.Tensor:
        """What stands in the dropped places: drawn apart from the global generator, which the model may draw from."""
        return torch.zeros(shape) if zeros else torch.randn(shape, generator=self._noise)
