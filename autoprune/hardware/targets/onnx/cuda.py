"""Targets `onnxruntime-cuda` and `onnxruntime-tensorrt`: ONNX Runtime on an NVIDIA GPU."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from autoprune.export.opset import OPSET
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.sensors.gpu import first_gpu
from autoprune.hardware.sensors.telemetry import Sensors
from autoprune.hardware.targets.onnx.cpu import OnnxRuntimeTarget, installed_version
from autoprune.hardware.timing.clocks import Clock, WallClock

if TYPE_CHECKING:
    from torch import nn

__all__ = ["OnnxRuntimeCudaTarget", "OnnxRuntimeTensorRtTarget"]

Provider = tuple[str, dict[str, Any]]


class OnnxRuntimeCudaTarget(OnnxRuntimeTarget):
    """ONNX Runtime's CUDA provider; input and output stay on the GPU, and a call ends when the GPU is done.

    The runtime works on its own stream, on which no events can be placed, so the wall clock is read. In float32
    TensorFloat-32 is off.
    """

    name: ClassVar[str] = "onnxruntime-cuda"
    channel_multiple: ClassVar[int] = 8
    channel_multiple_reason: ClassVar[str] = (
        "not measured: NVIDIA asks for multiples of 8 where tensor cores are to be used"
    )
    precisions: ClassVar[tuple[str, ...]] = ("f32", "f16")
    integers: ClassVar[bool] = False  # the CUDA provider has no integer convolutions
    variants: ClassVar[frozenset[str]] = frozenset()
    provider: ClassVar[str] = "CUDAExecutionProvider"

    def available(self) -> str | None:
        """None when the runtime has the provider and the driver lists a GPU."""
        missing = super().available()
        if missing is not None:
            return missing
        import onnxruntime

        if self.provider not in onnxruntime.get_available_providers():
            return (
                f"onnxruntime {onnxruntime.__version__} has no {self.provider};"
                " pip uninstall onnxruntime && pip install onnxruntime-gpu"
            )
        return None if first_gpu() else "no NVIDIA GPU is listed by nvidia-smi; check the driver"

    def versions(self) -> dict[str, str]:
        """The version of onnxruntime, the opset, the device and its driver."""
        number = installed_version("onnxruntime")
        gpu = first_gpu()
        kind = self.provider.removesuffix("ExecutionProvider")
        about = {"runtime": f"onnxruntime {number} {kind}", "opset": str(OPSET)}
        return about | ({"gpu": gpu.name, "capability": gpu.capability, "driver": gpu.driver} if gpu else {})

    def clock(self) -> Clock:
        """The wall clock: a call returns when the GPU is done."""
        return WallClock()

    def pack(self, model: nn.Module, example: Any) -> bytes:
        """The network as ONNX in the target's precision, BatchNorm folded."""
        if self.precision == "f16":
            from autoprune.models.copying import isolated
            from autoprune.models.inputs.example import as_example

            halved = as_example(example).map(lambda tensor: tensor.half() if tensor.is_floating_point() else tensor)
            model, example = isolated(model).half(), halved.plain
        return super().pack(model, example)

    def pack_layer(self, layer: Layer, copies: int) -> bytes | None:
        """A graph of one layer; in half precision none, and a table follows the multiply-accumulates."""
        return super().pack_layer(layer, copies) if self.precision == "f32" else None

    def sensors(self) -> Sensors:
        """Inside the worker: the GPU's energy."""
        return Sensors(gpu=0)

    def peak_memory_mb(self) -> float | None:
        """None: the runtime does not tell how much of the GPU's memory it took."""
        return None

    def providers(self) -> list[Provider]:
        """What executes the graph, and what executes the nodes that it cannot."""
        return [("CUDAExecutionProvider", {"use_tf32": 0, "cudnn_conv_algo_search": "EXHAUSTIVE"})]

    def load(self, payload: bytes) -> Callable[[], object]:
        """Inside the worker: a session with input and output bound on the GPU."""
        import onnxruntime

        session = self._session(payload)
        binding = session.io_binding()
        for name, array in self._inputs(session):
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
        for value in session.get_outputs():
            binding.bind_output(value.name, "cuda")

        def call() -> None:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return call

    def _session(self, payload: bytes) -> Any:
        """A session on the GPU; the runtime itself would fall back to the processor without a word.

        Raises:
            RuntimeError: If the provider's libraries cannot be loaded.
        """
        import onnxruntime

        if hasattr(onnxruntime, "preload_dlls"):  # since 1.21
            onnxruntime.preload_dlls()  # CUDA's and cuDNN's libraries, where pip put them
        session = super()._session(payload)
        if self.provider not in session.get_providers():
            raise RuntimeError(f"{self.provider} could not be loaded (see onnxruntime's messages about its libraries)")
        return session


class OnnxRuntimeTensorRtTarget(OnnxRuntimeCudaTarget):
    """ONNX Runtime's TensorRT provider; building an engine takes seconds to minutes, so whole networks only."""

    name: ClassVar[str] = "onnxruntime-tensorrt"
    provider: ClassVar[str] = "TensorrtExecutionProvider"
    patience: ClassVar[float] = 900.0
    compiles_long: ClassVar[bool] = True

    def available(self) -> str | None:
        """None when the runtime has the provider, TensorRT is installed, and the driver lists a GPU."""
        missing = super().available()
        if missing is None and importlib.util.find_spec("tensorrt_libs") is None:
            return "TensorRT is not installed; pip install tensorrt"
        return missing

    def versions(self) -> dict[str, str]:
        """As with CUDA, and the version of TensorRT."""
        return {**super().versions(), "tensorrt": installed_version("tensorrt_libs")}

    def pack(self, model: nn.Module, example: Any) -> bytes:
        """The network as ONNX in float32: TensorRT itself chooses where half precision is used."""
        return OnnxRuntimeTarget.pack(self, model, example)

    def pack_layer(self, layer: Layer, copies: int) -> bytes | None:
        """None: building hundreds of engines would take hours."""
        return None

    def _session(self, payload: bytes) -> Any:
        """As with CUDA, TensorRT's libraries loaded before: nothing else puts pip's in the loader's reach."""
        importlib.import_module("tensorrt")
        return super()._session(payload)

    def providers(self) -> list[Provider]:
        """TensorRT, and CUDA for what it cannot."""
        return [("TensorrtExecutionProvider", {"trt_fp16_enable": self.precision == "f16"}), *super().providers()]
