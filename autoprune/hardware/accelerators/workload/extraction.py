"""The layers of any traced network, with their masks and a sample of their activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from autoprune.errors import InputError
from autoprune.graph.coupling.rule_table import base_name, bound
from autoprune.graph.operators import moves_no_data
from autoprune.graph.trace.export import Trace, trace
from autoprune.hardware.accelerators.workload.products import PRODUCTS, Product, product_of
from autoprune.hardware.accelerators.workload.work import LayerWork, NotPriced, Workload
from autoprune.models.inputs.example import Example, as_example

__all__ = ["workload_of"]

_FOLDED = "folded into the layer before it"
_UNKNOWN = "it multiplies with weights in a way that is not priced"
_MULTIPLY = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu", "bmm", "baddbmm", "einsum", *PRODUCTS})
_REASONS = {"batch_norm": _FOLDED, "_native_batch_norm_legit_no_training": _FOLDED}


def workload_of(
    model: nn.Module, example: Any, calibration: Any = None, *, vectors: int = 16, images: int = 8, seed: int = 0
) -> Workload:
    """What the layers of a network compute, as a matrix and a sample of vectors each.

    The activations are those of the calibration images as the network itself computes them; which zeros there are is
    so known for these images alone.

    Args:
        model: The network; zeros of its weights are the masks. Left as it was.
        example: An input of the shape of one call, batch dimension included.
        calibration: An input with as many images as there are; default the example.
        vectors: How many vectors of each layer are sampled, over all images.
        images: How many images are used at the most.
        seed: Of the sample.

    Returns:
        The layers in forward order, and all operators that are not priced.

    Raises:
        UnsupportedModelError: If the model cannot be traced.
        InputError: If there is no sample to draw.
    """
    if vectors < 1 or images < 1:
        raise InputError(f"a sample of activations has 1 vector and 1 image or more, not {vectors} and {images}")
    call = as_example(example)
    traced = trace(model, call)
    given = as_example(call if calibration is None else calibration)
    used = min(images, given.batch)
    chunks = list(_chunks(given, used, traced.batch))
    source = f"{used} {'image' if used == 1 else 'images'}{' of the example' if calibration is None else ''}"
    recorded = _Recording(traced, model, -(-vectors // len(chunks)), np.random.default_rng(seed))
    for number, chunk in enumerate(chunks):
        recorded.look(chunk, min(traced.batch, used - number * traced.batch))
    works = [
        _work(traced, node, found, name, call.batch / traced.batch, source)
        for (node, found), name in zip(recorded.found.items(), _names(traced, recorded.found), strict=True)
    ]
    return Workload(works, tuple(_free(traced, set(recorded.found))))


def _chunks(given: Example, used: int, size: int) -> Iterator[Example]:
    """The images in portions of the traced batch; the last is filled up with its first image."""
    for start in range(0, used, size):
        count = min(size, used - start)

        def portion(tensor: Tensor, start: int = start, count: int = count) -> Tensor:
            if not tensor.dim() or tensor.shape[0] != given.batch:
                return tensor
            part = tensor[start : start + count]
            return torch.cat([part, *[part[:1]] * (size - count)])

        yield given.map(portion)


@dataclass
class _Found:
    """What is known of one operator after some images."""

    product: Product
    bias: bool
    samples: list[Any]


class _Recording(fx.Interpreter):
    """Runs the traced graph, and keeps a sample of what its products are given."""

    def __init__(self, traced: Trace, model: nn.Module, count: int, draw: np.random.Generator) -> None:
        super().__init__(traced.module, garbage_collect_values=True)
        self.found: dict[fx.Node, _Found] = {}
        self._traced, self._count, self._draw = traced, count, draw
        self._tensors: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self._moving = _depending(traced)
        self._genuine = traced.batch

    def look(self, images: Example, genuine: int) -> None:
        """Run on as many images as were traced; what only fills them up is not sampled."""
        self._genuine = genuine
        mine = images.copied()
        given = iter(torch.utils._pytree.tree_leaves((mine.args, dict(mine.kwargs))))
        inputs = []
        for node in self._traced.graph.find_nodes(op="placeholder"):
            if node.name in self._traced.tensors:
                name = self._traced.tensors[node.name]
                tensor = self._tensors[name].detach()
                inputs.append(tensor if name in self._traced.parameters else tensor.clone())
            else:
                constant = self._traced.constants.get(node.name)
                inputs.append(next(given) if constant is None else constant)
        with torch.no_grad():
            self.run(*inputs)

    def run_node(self, n: fx.Node) -> Any:
        """One operator; what a product is given is sampled before it runs."""
        if "_assert" in str(n.target):
            return None
        if n.op == "call_function" and self._is_product(n):
            self._sample(n)
        return super().run_node(n)

    def _is_product(self, node: fx.Node) -> bool:
        names = PRODUCTS.get(base_name(node))
        if names is None:
            return False
        arguments = bound(node)
        return arguments[names[0]] in self._moving and arguments[names[1]] not in self._moving

    def _sample(self, node: fx.Node) -> None:
        operator = base_name(node)
        arguments = {k: self.env[v] if isinstance(v, fx.Node) else v for k, v in bound(node).items()}
        product = product_of(operator, arguments)
        if product is None or not product.matrix.numel():
            return
        added = PRODUCTS[operator][2]
        bias = (added is not None and arguments[added] is not None) or _is_normalised(node)
        found = self.found.setdefault(node, _Found(product, bias, []))
        among = max(1, product.vectors * self._genuine // self._traced.batch)  # images lie one behind the other
        found.samples.append(product.sample(self._count, self._draw, among))


def _depending(traced: Trace) -> set[fx.Node]:
    """The nodes whose value depends on the input, and not on weights alone."""
    moving: set[fx.Node] = set()
    for node in traced.graph.nodes:
        is_input = node.op == "placeholder" and node.name not in {*traced.tensors, *traced.constants}
        if is_input or moving.intersection(node.all_input_nodes):
            moving.add(node)
    return moving


def _is_normalised(node: fx.Node) -> bool:
    """Whether a BatchNorm follows, which adds a bias when it is folded."""
    return any(base_name(user) in _REASONS for user in node.users)


def _names(traced: Trace, nodes: Any) -> Iterator[str]:
    """A name of each product, no two alike: a layer that is called twice is `name`, then `name#2`."""
    seen: dict[str, int] = {}
    for node in nodes:
        weight = _weight(traced, node)
        name = weight.removesuffix(".weight") if weight else traced.module_of(node) or traced.around(node) or node.name
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"


def _weight(traced: Trace, node: fx.Node) -> str | None:
    """The parameter that is the weight; None where it is computed from some."""
    weight = bound(node)[PRODUCTS[base_name(node)][1]]
    while isinstance(weight, fx.Node) and base_name(weight) in ("t", "transpose", "permute"):
        weight = weight.args[0]
    return traced.tensors.get(weight.name) if isinstance(weight, fx.Node) else None


def _work(traced: Trace, node: fx.Node, found: _Found, name: str, calls: float, source: str) -> LayerWork:
    product = found.product
    return LayerWork(
        name=name,
        mask=(product.matrix != 0).numpy(),
        activations=np.concatenate(found.samples),
        positions=max(1, round(product.vectors * calls)),
        source=source,
        weight=_weight(traced, node),
        bias=found.bias,
        groups=product.groups,
        kernel=product.kernel,
    )


def _free(traced: Trace, priced: set[fx.Node]) -> Iterator[NotPriced]:
    """The operators that are in no cost, but for those that move no data."""
    moving = _depending(traced)
    for node in traced.graph.nodes:
        operator = base_name(node) if node.op == "call_function" else ""
        if not operator or node in priced or operator == "getitem" or moves_no_data(operator):
            continue
        name = traced.module_of(node) or traced.around(node) or node.name
        multiplies = node in moving and operator in _MULTIPLY and not moving.issuperset(node.all_input_nodes)
        reason = _UNKNOWN if multiplies else _REASONS.get(operator, "not priced: taken to be free")
        yield NotPriced(name, operator, reason, multiplies)
