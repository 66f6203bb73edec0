"""Target `torch`: PyTorch in eager mode on this machine's CPU, BatchNorm folded."""

from __future__ import annotations

import importlib.util
import io
import json
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

from autoprune.hardware.base import LocalTarget
from autoprune.hardware.layers import Layer

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["TorchTarget"]


class TorchTarget(LocalTarget):
    """Eager PyTorch: every operator is called one after the other, nothing is fused but BatchNorm."""

    name: ClassVar[str] = "torch"
    granule: ClassVar[int] = 4
    granule_reason: ClassVar[str] = (
        "convolutions grow almost linearly with the width, but off a multiple of 4 a layer is slower than the next one"
    )
    fused: ClassVar[frozenset[str]] = frozenset({"batch_norm"})

    def available(self) -> str | None:
        """None: without torch nothing of this program runs."""
        return None if importlib.util.find_spec("torch") else "torch is not installed; pip install torch"

    def versions(self) -> dict[str, str]:
        """The version of torch."""
        return {"runtime": f"torch {version('torch')} eager"}

    def pack(self, model: nn.Module, example: Tensor) -> bytes:
        """A `torch.export` program with BatchNorm folded, so that no class of the user's has to travel."""
        import torch

        from autoprune.graph.trace import quiet
        from autoprune.hardware.fold import fold_batch_norm

        with quiet():
            program = torch.export.export(fold_batch_norm(model, example), (example,))
            program.example_inputs = ((example.detach().clone(),), {})
            buffer = io.BytesIO()
            torch.export.save(program, buffer)
        return buffer.getvalue()

    def pack_layer(self, layer: Layer, copies: int) -> bytes:
        """The layer's description; the worker calls the same ATen operator that the exported network calls."""
        return json.dumps({"layer": layer.to_json(), "copies": copies}).encode()

    def prepare(self) -> None:
        """Set the threads and turn autograd off."""
        import torch

        torch.set_num_threads(self.threads)
        torch.manual_seed(0)  # the worker's own process: nobody else draws from this generator
        self._mode = torch.inference_mode()
        self._mode.__enter__()

    def load(self, payload: bytes) -> Callable[[], object]:
        """Inside the worker: a call of the program's module, or of one operator."""
        import torch

        if payload.startswith(b"{"):
            content = json.loads(payload)
            return _layer_call(Layer.from_json(content["layer"])) if content["copies"] else _nothing
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(io.BytesIO(payload))
            module = program.module(check_guards=False)
        (example,), _ = program.example_inputs
        return lambda: module(example)


def _nothing() -> None:
    """An empty call: its time is the overhead of calling."""


def _layer_call(layer: Layer) -> Callable[[], object]:
    """One ATen operator on random tensors of the layer's shapes."""
    import torch

    aten = torch.ops.aten
    x = torch.randn(layer.input_shape)
    if layer.kind == "elementwise":
        return lambda: aten.relu.default(x)
    if layer.kind == "pool":
        return _pool_call(layer, x)
    weight = torch.randn(layer.weight_shape) * 0.05
    bias = torch.randn(layer.outputs) if layer.bias else None
    if layer.kind == "linear":
        return lambda: aten.linear.default(x, weight, bias)
    convolve = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}[len(layer.kernel)]
    stride, padding, dilation = list(layer.stride), list(layer.padding), list(layer.dilation)
    return lambda: convolve(x, weight, bias, stride, padding, dilation, layer.groups)


def _pool_call(layer: Layer, x: torch.Tensor) -> Callable[[], object]:
    import torch

    aten = torch.ops.aten
    if not layer.kernel or len(layer.kernel) != 2:
        spatial = list(range(2, x.dim()))
        return lambda: aten.mean.dim(x, spatial)
    kernel, stride, padding = list(layer.kernel), list(layer.stride), list(layer.padding)
    return lambda: aten.max_pool2d.default(x, kernel, stride, padding)
