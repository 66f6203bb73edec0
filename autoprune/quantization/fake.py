"""The network of an ONNX file with integers as a torch graph that rounds as the file does, and can be trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, fx, nn

from autoprune.errors import UnsupportedModelError
from autoprune.export.folding import fold_batch_norm
from autoprune.models.inputs.example import as_example, open_batch
from autoprune.quantization.affine import activation_numbers
from autoprune.quantization.qdq import QuantizationPlan
from autoprune.quantization.scheme import Scheme
from autoprune.quantization.sites import Site, sites_of

__all__ = ["FakeQuantized", "fake_quantized"]

_ATEN = torch.ops.aten
_OPERATORS: dict[Any, tuple[str, ...]] = {
    _ATEN.conv1d.default: ("Conv",),
    _ATEN.conv2d.default: ("Conv",),
    _ATEN.conv3d.default: ("Conv",),
    _ATEN.conv1d.padding: ("Conv",),
    _ATEN.conv2d.padding: ("Conv",),
    _ATEN.conv3d.padding: ("Conv",),
    _ATEN.linear.default: ("Gemm", "MatMul"),
    _ATEN.add.Tensor: ("Add",),
    _ATEN.add_.Tensor: ("Add",),
    _ATEN.cat.default: ("Concat",),
    _ATEN.max_pool2d.default: ("MaxPool",),
    _ATEN.avg_pool2d.default: ("AveragePool",),
    _ATEN.adaptive_avg_pool2d.default: ("GlobalAveragePool",),
}
_ACTIVATIONS = frozenset(
    {
        *(_ATEN.relu.default, _ATEN.relu_.default, _ATEN.relu6.default),
        *(_ATEN.hardtanh.default, _ATEN.hardtanh_.default, _ATEN.clamp.default),
    }
)


class FakeQuantized(fx.GraphModule):
    """A network in evaluation mode whose weights and activations are rounded to integers and back.

    Gradients go through the rounding as if it were not there, and not beyond the ends of a range (Bengio et al.,
    2013). Ranges of activations stay; scales of weights follow their largest magnitudes.

    Attributes:
        weights: Node of a layer in the ONNX file -> (name of the weight's parameter, of the bias' or None).
    """

    weights: dict[str, tuple[str, str | None]]

    def into(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The float32 file with this network's weights and biases, which are not rounded.

        Args:
            model: The file that this network was made for; left as it is.
        """
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        stored = {tensor.name: tensor for tensor in copy.graph.initializer}
        own = dict(self.named_parameters())
        for site in sites_of(copy).layers:
            weight, bias = self.weights[site.node]
            for name, target in ((weight, site.weight), (bias, site.bias)):
                if name is None or target is None:
                    continue
                value = own[name].detach().cpu()
                turned = (
                    value.t() if name == weight and site.axis == 1 else value
                )  # outputs are torch's first dimension
                stored[target].CopyFrom(numpy_helper.from_array(turned.contiguous().numpy(), target))
        return copy


def fake_quantized(model: nn.Module, example: Any, file: onnx.ModelProto, plan: QuantizationPlan) -> FakeQuantized:
    """The graph of a network with the same rounding as `with_integers(file, plan)` has.

    Args:
        model: The network, left as it is.
        example: An input, or several as `as_example` takes them.
        file: What it was exported to, float32.
        plan: Types, ranges, layers in float32.

    Raises:
        UnsupportedModelError: If the file computes with other operators than the graph, in another order.
    """
    given = as_example(example)
    given = given.with_batch(2) if given.batch == 1 else given
    folded = fold_batch_norm(model, given, dynamic_shapes=open_batch(given))
    sites = sites_of(file)
    nodes = _matched(folded.graph, sites.all)
    active = [site for site in sites.all if site in sites.active(plan.float_layers)]
    read = {name for site in active for name in site.inputs}
    closed = {site.output for site in active if not site.open or site.output in read}
    module = FakeQuantized(folded, folded.graph)
    module.weights = {}
    for site in sites.layers:
        bias = _bias(nodes[site.node]) if site.bias is not None else None  # else another operator adds it
        module.weights[site.node] = (str(nodes[site.node].args[1].target), bias)  # type: ignore[union-attr]
    rounding = _Rounding(module, plan)
    computing = {nodes[site.node] for site in active}
    for name, node in _tensors(sites.all, nodes).items():
        if name in closed:
            rounding.behind(node, sites.ranged_as(name), lambda user: True)
        elif name in read:
            rounding.behind(node, sites.ranged_as(name), lambda user: user in computing)
    for site in active:
        if site.weight is not None:
            rounding.weight(nodes[site.node], site)
    module.graph.lint()
    module.recompile()
    written = {name for pair in module.weights.values() for name in pair}
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in written)  # what the file would not be given back stays as it is
    return module.eval()


def _matched(graph: fx.Graph, sites: tuple[Site, ...]) -> dict[str, fx.Node]:
    """Node of each site -> the graph's operator; a pooling that the file writes otherwise is none of its sites."""
    found, rest = {}, list(sites)
    for node in graph.nodes:
        kinds = _OPERATORS.get(node.target, ())
        if rest and rest[0].op in kinds and _is_alike(node, rest[0]):
            found[rest.pop(0).node] = node
    if rest:
        raise UnsupportedModelError(
            f"this network cannot be trained with integers: its file computes {rest[0].op} ({rest[0].node}) where its"
            " graph has no such operator"
        )
    return found


def _is_alike(node: fx.Node, site: Site) -> bool:
    """Whether an operator reads as many activations as a site, and a constant weight where that has one."""
    if site.weight is not None:
        weight = node.args[1]
        return isinstance(weight, fx.Node) and weight.op == "get_attr"
    return len({source for source in node.all_input_nodes if source.op != "get_attr"}) == len(site.inputs)


def _tensors(sites: tuple[Site, ...], nodes: dict[str, fx.Node]) -> dict[str, fx.Node]:
    """Name of every tensor that may be rounded -> the node that gives it."""
    found: dict[str, fx.Node] = {}
    for site in sites:
        node = nodes[site.node]
        sources = [source for source in node.all_input_nodes if source.op != "get_attr"]
        found.update(zip(site.inputs, sources, strict=False))
        users = list(node.users)
        fused = site.output != site.node and len(users) == 1 and users[0].target in _ACTIVATIONS
        found[site.output] = users[0] if fused else node
    return found


def _bias(node: fx.Node) -> str | None:
    bias = node.args[2] if len(node.args) > 2 else None
    return str(bias.target) if isinstance(bias, fx.Node) else None


class _Rounding:
    """Puts rounding into a graph."""

    def __init__(self, module: fx.GraphModule, plan: QuantizationPlan) -> None:
        self._module, self._plan = module, plan
        self._number = self._numbers()

    @staticmethod
    def _numbers() -> Iterator[int]:
        yield from range(10**9)

    def behind(self, node: fx.Node, name: str, wanted: Callable[[fx.Node], bool]) -> None:
        """Round what a node gives, for the users that are wanted."""
        users = [user for user in node.users if wanted(user)]
        rounding = _Activation(*self._plan.ranges[name], self._plan.scheme)
        with self._module.graph.inserting_after(node):
            new = self._module.graph.call_module(self._added(rounding), (node,))
        for user in users:
            user.replace_input_with(node, new)

    def weight(self, node: fx.Node, site: Site) -> None:
        """Round a layer's weight."""
        weight = node.args[1]
        if not isinstance(weight, fx.Node):
            raise TypeError("a layer's weight is a node")
        with self._module.graph.inserting_before(node):
            new = self._module.graph.call_module(self._added(_Weight(self._plan.scheme)), (weight,))
        node.update_arg(1, new)

    def _added(self, rounding: nn.Module) -> str:
        name = f"rounding_{next(self._number)}"
        self._module.add_module(name, rounding)
        return name


class _Activation(nn.Module):
    """Rounds to the integers of a range."""

    def __init__(self, low: float, high: float, scheme: Scheme) -> None:
        super().__init__()
        numbers = activation_numbers(low, high, scheme)
        self.scale, self.zero, self.levels = numbers.scale, numbers.zero, scheme.levels

    def forward(self, x: Tensor) -> Tensor:
        rounded: Tensor = torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero, *self.levels)
        return rounded


class _Weight(nn.Module):
    """Rounds a weight by its largest magnitudes; outputs are its first dimension."""

    def __init__(self, scheme: Scheme) -> None:
        super().__init__()
        self.steps, self.per_channel = scheme.weight_steps, scheme.per_channel

    def forward(self, weight: Tensor) -> Tensor:
        magnitudes = weight.detach().abs()
        rounded: Tensor
        if self.per_channel:
            scales = (magnitudes.flatten(1).amax(1) / self.steps).clamp_min(1e-30)
            zeros = torch.zeros_like(scales, dtype=torch.int32)
            rounded = torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -self.steps, self.steps)
        else:
            scale = float(magnitudes.amax() / self.steps) or 1e-30
            rounded = torch.fake_quantize_per_tensor_affine(weight, scale, 0, -self.steps, self.steps)
        return rounded
