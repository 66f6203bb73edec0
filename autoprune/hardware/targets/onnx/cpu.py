"""Target `onnxruntime`: ONNX Runtime's CPU provider on this machine."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import packages_distributions, version
from typing import TYPE_CHECKING, Any, ClassVar

from autoprune.export.opset import OPSET
from autoprune.hardware.contract.layer import BORDERS, Layer, with_variant
from autoprune.hardware.targets.local import LocalTarget

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

__all__ = ["OnnxRuntimeTarget", "installed_version"]

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
    "tensor(uint8)": "uint8",
}


@functools.cache
def installed_version(module: str) -> str:
    """The version of a module whose distribution has one of several names: `onnxruntime-gpu` brings `onnxruntime`.

    Raises:
        PackageNotFoundError: If there is no such module.
    """
    names = packages_distributions().get(module) or [module]
    return version(max(names, key=len))  # where two are installed over each other, the special one is what was meant


class OnnxRuntimeTarget(LocalTarget):
    """ONNX Runtime on the CPU, all graph optimisations on; `int8` times networks whose layers compute with integers."""

    name: ClassVar[str] = "onnxruntime"
    channel_multiple: ClassVar[int] = 4
    channel_multiple_reason: ClassVar[str] = (
        "output channels cost in stairs of 16, input channels in steps of 4; off a multiple of 4 a layer leaves "
        "the fast layout"
    )
    runs_branches: ClassVar[bool] = True
    gathers_weights: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("f32", "int8")
    integers: ClassVar[bool] = True
    variants: ClassVar[frozenset[str]] = frozenset({"int8"})
    # These are executed inside the convolution before them.
    fused: ClassVar[frozenset[str]] = frozenset(
        {"batch_norm", "relu", "hardtanh", "clamp", "sigmoid", "tanh", "leaky_relu", "hardsigmoid", "add"}
    )

    def available(self) -> str | None:
        """None when onnx, onnxscript and onnxruntime are installed."""
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
        return f"{', '.join(missing)} not installed; pip install 'autoprune[onnx]'" if missing else None

    def versions(self) -> dict[str, str]:
        """The version of onnxruntime and the opset; the types of integers."""
        known = {"runtime": f"onnxruntime {installed_version('onnxruntime')} CPU", "opset": str(OPSET)}
        return known | ({"types": self.integer_scheme.name} if self.precision == "int8" else {})

    def pack(self, model: nn.Module, example: Any) -> bytes:
        """The network as ONNX, BatchNorm folded."""
        from autoprune.quantization.for_timing import file_for_timing

        self.require()
        return file_for_timing(model, example, lambda: self.integer_scheme, whole=self.precision == "int8")

    def pack_layer(self, layer: Layer, copies: int) -> bytes | None:
        """A graph of one layer, `copies` times over."""
        from autoprune.hardware.targets.onnx.layers import layer_graph

        self.require()
        return layer_graph(with_variant(layer, self.precision), copies)

    def copies(self, layer: Layer) -> int:
        """Four copies for everything but pools and borders of integers.

        The blocked layout in which convolutions run cannot be fed in: (T_4 - T_1) / 3 cancels the reordering.
        """
        return 1 if layer.kind in ("pool", *BORDERS) else 4

    def load(self, payload: bytes) -> Callable[[], object]:
        """Inside the worker: a session whose input is bound once, so that a call is one inference and nothing else."""
        session = self._session(payload)
        binding = session.io_binding()
        for name, array in self._inputs(session):
            binding.bind_cpu_input(name, array)
        for value in session.get_outputs():
            binding.bind_output(value.name)
        return lambda: session.run_with_iobinding(binding)

    def compute(self, payload: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's output."""
        session = self._session(payload)
        value = session.get_inputs()[0]
        output: NDArray[np.float32] = session.run(None, {value.name: x.astype(_DTYPES[value.type])})[0]
        return output.astype("float32")

    def caller(self, payload: bytes) -> Callable[[Sequence[NDArray[Any]]], Sequence[NDArray[Any]]]:
        """A session that stays."""
        session = self._session(payload)
        names = [value.name for value in session.get_inputs()]

        def call(inputs: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
            found: Sequence[NDArray[Any]] = session.run(None, dict(zip(names, inputs, strict=True)))
            return found

        return call

    def providers(self) -> list[tuple[str, dict[str, Any]]]:
        """What executes the graph, with its options, first choice first."""
        return [("CPUExecutionProvider", {})]

    def _inputs(self, session: Any) -> Iterator[tuple[str, NDArray[Any]]]:
        """Name and value of every input that a session asks for."""
        import numpy as np

        draw = np.random.default_rng(0)
        for value in session.get_inputs():
            shape = [size if isinstance(size, int) else 1 for size in value.shape]
            dtype = _DTYPES.get(value.type)
            if dtype is None:
                raise TypeError(f"input {value.name!r} has the type {value.type}, which is not supported")
            array = draw.standard_normal(shape) if dtype.startswith("float") else np.zeros(shape)
            yield value.name, array.astype(dtype)

    def _session(self, payload: bytes) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(payload, options, providers=self.providers())
