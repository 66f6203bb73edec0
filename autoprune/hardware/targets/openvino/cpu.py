"""Target `openvino`: OpenVINO's CPU plugin on this machine."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

from autoprune.export.onnx_network import precision_of
from autoprune.hardware.contract.layer import Layer, with_variant
from autoprune.hardware.contract.target_spec import check_option
from autoprune.hardware.targets.local import LocalTarget
from autoprune.hardware.timing.clocks import Clock, ProcessClock, WallClock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

__all__ = ["OpenVinoTarget"]


class OpenVinoTarget(LocalTarget):
    """OpenVINO on the CPU: one stream, tuned for latency, its precision pinned.

    Left alone, the plugin computes in bfloat16 wherever the processor has it, whatever the network's weights are. In
    `f32` a file that names the precision in which it was verified is computed in that.
    """

    name: ClassVar[str] = "openvino"
    channel_multiple: ClassVar[int] = 4
    channel_multiple_reason: ClassVar[str] = (
        "output channels cost in stairs of 16, the multiple itself least of its stair; input channels cost linearly"
    )
    runs_branches: ClassVar[bool] = True
    # These are executed inside the convolution before them.
    fused: ClassVar[frozenset[str]] = frozenset(
        {"batch_norm", "relu", "hardtanh", "clamp", "sigmoid", "tanh", "leaky_relu", "hardsigmoid", "add"}
    )
    precisions: ClassVar[tuple[str, ...]] = ("f32", "bf16", "f16", "int8")
    memory_formats: ClassVar[tuple[str, ...]] = ("contiguous", "channels_last")
    halves: ClassVar[tuple[str, ...]] = ("bf16", "f16")
    integers: ClassVar[bool] = True
    variants: ClassVar[frozenset[str]] = frozenset({"int8"})

    def available(self) -> str | None:
        """None when openvino is installed, and what exports networks to ONNX for it."""
        missing = [name for name in ("openvino", "onnx", "onnxscript") if importlib.util.find_spec(name) is None]
        return f"{', '.join(missing)} not installed; pip install 'autoprune[openvino]'" if missing else None

    def versions(self) -> dict[str, str]:
        """The version of openvino; the types of integers."""
        known = {"runtime": f"openvino {version('openvino')} CPU"}
        return known | ({"types": self.integer_scheme.name} if self.precision == "int8" else {})

    def clock(self) -> Clock:
        """CPU time of the whole process: the runtime has threads of its own."""
        return ProcessClock() if self.threads == 1 else WallClock()

    def pack(self, model: nn.Module, example: Any) -> bytes:
        """The network as ONNX: ten times faster than the runtime's own converter, which makes the same graph of it."""
        from autoprune.quantization.for_timing import file_for_timing

        self.require()
        return file_for_timing(model, example, lambda: self.integer_scheme, whole=self.precision == "int8")

    def pack_layer(self, layer: Layer, copies: int) -> bytes:
        """The layer's description; the worker builds it with the runtime's own operators."""
        self.require()
        return json.dumps({"layer": with_variant(layer, self.precision).to_json(), "copies": copies}).encode()

    def load(self, payload: bytes) -> Callable[[], object]:
        """Inside the worker: an inference request whose input is filled in once."""
        import numpy as np
        import openvino

        from autoprune.hardware.targets.openvino import layers as openvino_layers

        number = self._number
        if payload.startswith(b"{"):
            content = json.loads(payload)
            layer = Layer.from_json(content["layer"])
            graph = openvino_layers.layer_graph(layer, number) if content["copies"] else openvino_layers.empty()
        else:
            graph, number = self._graph(payload), self._number_of(payload)
        request = self._request(graph, number)
        draw = np.random.default_rng(0)
        for index, value in enumerate(request.model_inputs):
            tensor = openvino.Tensor(value.element_type, value.shape)
            if value.element_type.is_real():
                tensor.data[...] = draw.standard_normal(tuple(value.shape)).astype(tensor.data.dtype)
            request.set_input_tensor(index, tensor)
        infer: Callable[[], object] = request.infer
        return infer

    def compute(self, payload: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's output."""
        import numpy as np

        request = self._request(self._graph(payload), self._number_of(payload))
        request.infer([np.moveaxis(x, 1, -1) if self.memory_format == "channels_last" else x])
        return np.array(request.get_output_tensor(0).data, dtype=np.float32)

    def caller(self, payload: bytes) -> Callable[[Sequence[NDArray[Any]]], Sequence[NDArray[Any]]]:
        """A request that stays; images in their usual order."""
        import numpy as np
        import openvino

        request = self._request(openvino.Core().read_model(payload), self._number_of(payload))

        def call(inputs: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
            request.infer(list(inputs))
            return [np.array(tensor.data) for tensor in request.output_tensors]

        return call

    @property
    def _number(self) -> str:
        """What is computed in beside integers."""
        return "f32" if self.precision == "int8" else self.precision

    def _number_of(self, payload: bytes) -> str:
        """What a file is computed in: what it was verified in, where the target was asked for nothing else."""
        asked = precision_of(payload) if self._number == "f32" else None
        return self._number if asked is None else check_option(self.name, "precision", asked, self.precisions)

    def _graph(self, payload: bytes) -> Any:
        import openvino

        from autoprune.hardware.targets.openvino import layers as openvino_layers

        graph = openvino.Core().read_model(payload)
        return openvino_layers.channels_last(graph) if self.memory_format == "channels_last" else graph

    def _request(self, graph: Any, number: str) -> Any:
        import openvino

        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": number,
        }
        return openvino.Core().compile_model(graph, "CPU", options).create_infer_request()
