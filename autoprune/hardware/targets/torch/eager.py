"""Target `torch`: PyTorch in eager mode on this machine's CPU, BatchNorm folded."""

from __future__ import annotations

import importlib.util
import io
import json
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

from autoprune.errors import UnsupportedModelError
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.targets.local import LocalTarget

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from autoprune.models.inputs.example import Example

__all__ = ["TorchTarget"]


class TorchTarget(LocalTarget):
    """Eager PyTorch: every operator is called one after the other, nothing is fused but BatchNorm."""

    name: ClassVar[str] = "torch"
    channel_multiple: ClassVar[int] = 4
    channel_multiple_reason: ClassVar[str] = (
        "convolutions grow almost linearly with the width, but off a multiple of 4 a layer is slower than the next one"
    )
    fused: ClassVar[frozenset[str]] = frozenset({"batch_norm"})
    precisions: ClassVar[tuple[str, ...]] = ("f32", "bf16")
    memory_formats: ClassVar[tuple[str, ...]] = ("contiguous", "channels_last")
    device: ClassVar[str] = "cpu"

    def available(self) -> str | None:
        """None: without torch nothing of this program runs."""
        return None if importlib.util.find_spec("torch") else "torch is not installed; pip install torch"

    def versions(self) -> dict[str, str]:
        """The version of torch."""
        return {"runtime": f"torch {version('torch')} eager"}

    def pack(self, model: nn.Module, example: Any) -> bytes:
        """A `torch.export` program with BatchNorm folded, so that no class of the user's has to travel.

        Raises:
            UnsupportedModelError: If the network cannot be exported, or not in the target's precision.
        """
        import torch

        from autoprune.export.folding import fold_batch_norm
        from autoprune.graph.trace.quiet import quiet
        from autoprune.hardware.targets.torch.layers import DTYPES
        from autoprune.models.inputs.example import as_example

        self.require()
        dtype = DTYPES[self.precision]
        folded = fold_batch_norm(model, example).to(dtype)
        given = as_example(example).copied().map(lambda t: t.to(dtype) if t.is_floating_point() else t)
        try:
            with quiet():
                program = torch.export.export(folded, given.args, dict(given.kwargs))
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise UnsupportedModelError(f"this model cannot be exported in {self.precision}: {reason}") from error
        program.example_inputs = (given.args, dict(given.kwargs))
        buffer = io.BytesIO()
        with quiet():
            torch.export.save(program, buffer)
        return buffer.getvalue()

    def pack_layer(self, layer: Layer, copies: int) -> bytes | None:
        """The layer's description; the worker calls the same ATen operator that the exported network calls."""
        return json.dumps({"layer": layer.to_json(), "copies": copies}).encode()

    def prepare(self) -> None:
        """Set the threads and turn autograd off."""
        import torch

        torch.set_num_threads(self.threads)
        self._mode = torch.inference_mode()
        self._mode.__enter__()

    def load(self, payload: bytes) -> Callable[[], object]:
        """Inside the worker: a call of the program's module, or of one operator."""
        if payload.startswith(b"{"):
            return self._layer_call(payload)
        import torch

        module, example = self._open(payload)
        given = example.copied()
        args, kwargs = example.args, dict(example.kwargs)
        module(*args, **kwargs)
        pairs = list(zip(example.tensors(), given.tensors(), strict=True))
        if all(torch.equal(own, as_given) for own, as_given in pairs):
            return (lambda: module(args[0])) if len(args) == 1 and not kwargs else (lambda: module(*args, **kwargs))

        def restored() -> object:  # it writes to its inputs, which must not drift
            for own, as_given in pairs:
                own.copy_(as_given)
            return module(*args, **kwargs)

        return restored

    def compute(self, payload: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's output."""
        import torch

        module, example = self._open(payload)
        with torch.no_grad():
            example.tensors()[0].copy_(torch.from_numpy(x))
            output: Any = module(*example.args, **example.kwargs)
        found: NDArray[np.float32] = output.float().cpu().numpy()
        return found

    def _open(self, payload: bytes) -> tuple[Callable[..., Any], Example]:
        """The packed network and its example, in the target's memory format."""
        import torch
        from torch.export.passes import move_to_device_pass

        from autoprune.hardware.targets.torch.layers import in_format
        from autoprune.models.inputs.example import Example

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(io.BytesIO(payload))
            args, kwargs = program.example_inputs
            if self.device != "cpu":
                program = move_to_device_pass(program, self.device)
            module = program.module(check_guards=False)
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data = in_format(tensor.data, self.memory_format)
        call = Example(args, kwargs)
        return module, call.map(lambda tensor: in_format(tensor.to(self.device), self.memory_format))

    def _layer_call(self, payload: bytes) -> Callable[[], object]:
        from autoprune.hardware.targets.torch.layers import layer_call

        content = json.loads(payload)
        if not content["copies"]:
            return _nothing
        return layer_call(Layer.from_json(content["layer"]), self.precision, self.memory_format, self.device)


def _nothing() -> None:
    """An empty call: its time is the overhead of calling."""
