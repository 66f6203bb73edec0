"""One trace of the user's model by ``torch.export``, and what its graph says about names and source lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.export.graph_signature import InputKind, OutputKind

from autoprune.graph.trace.inlining import inline
from autoprune.graph.trace.program import COMPARED, PREFIX, exported
from autoprune.graph.trace.quiet import quiet
from autoprune.graph.trace.refusal import require_python
from autoprune.graph.trace.size_origins import Origin
from autoprune.models.inputs.example import Example

__all__ = ["Trace", "canonical_names", "trace"]


@dataclass(frozen=True, eq=False)
class Trace:
    """The exported graph with the names of its parameters.

    Attributes:
        module: The exported graph with its sub-graphs.
        tensors: Placeholder name -> qualified name of the parameter or buffer (shared tensors by one name).
        parameters: Canonical names that are parameters, not buffers.
        batch: First dimension of the traced inputs.
        leaves: Every qualified name of the modules that have no children -> the first of them.
        constants: Placeholder name -> tensor that the forward makes and the exporter lifted.
        outputs: Which of the graph's outputs are the model's.
        lower: Whether a region of it asks for a lower precision.
        compared: Origins of sizes that the forward compares with each other.
    """

    module: torch.fx.GraphModule
    tensors: Mapping[str, str]
    parameters: frozenset[str]
    batch: int
    leaves: Mapping[str, str]
    constants: Mapping[str, torch.Tensor]
    outputs: tuple[int, ...]
    lower: bool
    compared: tuple[tuple[Origin, Origin], ...] = ()

    @property
    def graph(self) -> torch.fx.Graph:
        """ATen operators, in forward order."""
        return self.module.graph

    @property
    def casts(self) -> bool:
        """Whether the forward itself goes to single or lower precision in places."""
        if self.lower:
            return True
        low = {torch.float32, torch.float16, torch.bfloat16}
        calls = (node for node in self.graph.nodes if node.op == "call_function")
        return any(arg in low for n in calls for arg in (*n.args, *n.kwargs.values()) if isinstance(arg, torch.dtype))

    def module_of(self, node: torch.fx.Node) -> str | None:
        """The module that is this operator, or None for an operator in the body of a larger module."""
        return self.leaves.get(self.around(node))

    def around(self, node: torch.fx.Node) -> str:
        """The innermost module in whose forward this operator is called."""
        stack = node.meta.get("nn_module_stack") or {}
        return next((str(entry[0]) for entry in reversed(list(stack.values()))), "").removeprefix(PREFIX)


def canonical_names(model: nn.Module) -> dict[str, str]:
    """Every qualified name of a parameter or buffer -> the first name of that same tensor."""
    first: dict[int, str] = {}
    names: dict[str, str] = {}
    for source in (model.named_parameters, model.named_buffers):
        for name, tensor in source(remove_duplicate=False):
            names[name] = first.setdefault(id(tensor), name)
    return names


def trace(model: nn.Module, example: Example) -> Trace:
    """Export a copy of the model in evaluation mode.

    Raises:
        UnsupportedModelError: The model cannot be copied, run or exported.
    """
    require_python(model)
    with quiet(), torch.no_grad():  # so that regions without gradients are nothing special
        program, batch = exported(model, example)
    names = canonical_names(model)
    lower = inline(program.graph_module)
    program.graph_module.graph.eliminate_dead_code()
    kinds = (InputKind.PARAMETER, InputKind.BUFFER)
    tensors = {
        spec.arg.name: names[spec.target.removeprefix(PREFIX)]
        for spec in program.graph_signature.input_specs
        if spec.kind in kinds and spec.target is not None
    }
    return Trace(
        module=program.graph_module,
        tensors=tensors,
        parameters=frozenset(name for name, _ in model.named_parameters()),
        batch=batch,
        lower=lower,
        compared=program.graph_module.meta.get(COMPARED, ()),
        leaves=_leaves(model),
        constants=_constants(program),
        outputs=tuple(
            place
            for place, spec in enumerate(program.graph_signature.output_specs)
            if spec.kind is OutputKind.USER_OUTPUT
        ),
    )


def _leaves(model: nn.Module) -> dict[str, str]:
    first: dict[int, str] = {}
    everything = model.named_modules(remove_duplicate=False)
    return {name: first.setdefault(id(child), name) for name, child in everything if not any(child.children())}


def _constants(program: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    found = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.CONSTANT_TENSOR and isinstance(value := program.constants[spec.target], torch.Tensor):
            found[spec.arg.name] = value
    return found
