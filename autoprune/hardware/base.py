"""The contract of a target: a runtime on a device, something that turns a network into milliseconds.

A new runtime on this machine is a subclass of `LocalTarget` with four methods (`available`, `versions`, `pack`,
`load`); its timing happens in a fresh worker process. A device elsewhere (a phone, a board) is a subclass of
`Target` that also does its own `time`. Either is named on the command line as `package.module:Class`.
"""

from __future__ import annotations

import abc
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ClassVar
from typing import Protocol as Interface

from autoprune._reference import in_one_line
from autoprune.errors import AutopruneError, InputError, TargetError
from autoprune.hardware.clocks import Clock, CpuClock, WallClock, cpu_flags, cpu_model, peak_memory_mb
from autoprune.hardware.layers import Layer
from autoprune.hardware.protocol import Measurement, Protocol
from autoprune.hardware.spec import MEMORY_FORMATS, PRECISIONS, Spec, check_option
from autoprune.names import nearest_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from autoprune.hardware.telemetry import Sensors

__all__ = ["TARGETS", "LocalTarget", "Target", "Timer", "get_target"]

Progress = Callable[[int, int], None]  # (done, all)

# Name -> where the class lies. Imported when asked for, so that a missing runtime costs nothing.
TARGETS: dict[str, str] = {
    "torch": "autoprune.hardware.torch_eager:TorchTarget",
    "torch-compile": "autoprune.hardware.torch_compiled:TorchCompileTarget",
    "onnxruntime": "autoprune.hardware.onnx_runtime:OnnxRuntimeTarget",
    "openvino": "autoprune.hardware.openvino_cpu:OpenVinoTarget",
    "executorch": "autoprune.hardware.executorch_xnnpack:ExecuTorchTarget",
    "cuda": "autoprune.hardware.cuda:CudaTarget",
    "cuda-graphs": "autoprune.hardware.cuda:CudaGraphsTarget",
    "onnxruntime-cuda": "autoprune.hardware.onnx_cuda:OnnxRuntimeCudaTarget",
    "onnxruntime-tensorrt": "autoprune.hardware.onnx_cuda:OnnxRuntimeTensorRtTarget",
}


class Timer(Interface):
    """Something that times packed networks, all of one call interleaved."""

    def time(
        self, payloads: Sequence[bytes], protocol: Protocol, progress: Progress | None = None
    ) -> list[Measurement]:
        """One measurement a payload, in order."""


class Target(abc.ABC):
    """A runtime on a device.

    Attributes:
        name: What users call it.
        granule: Widths in multiples of this many units run without waste here.
        granule_reason: Why, in one line, for people.
        fused: ATen operators that cost nothing when they directly follow a convolution or linear layer.
        precisions: Number formats that it can compute in; the first is the default.
        memory_formats: Orders in which it can be handed images; the first is the default.
        compiles_long: Whether it takes ten seconds and more to make a network ready: networks are then timed once, in
            pairs, and kept as they come.

    Args:
        threads: How many threads a network may use.
        precision: One of `precisions`.
        memory_format: One of `memory_formats`.

    Raises:
        InputError: If it has no such option.
    """

    name: ClassVar[str] = "target"
    granule: ClassVar[int] = 8
    granule_reason: ClassVar[str] = "a safe guess: most runtimes vectorise over 8 channels"
    fused: ClassVar[frozenset[str]] = frozenset({"batch_norm"})
    precisions: ClassVar[tuple[str, ...]] = PRECISIONS[:1]
    memory_formats: ClassVar[tuple[str, ...]] = MEMORY_FORMATS[:1]
    compiles_long: ClassVar[bool] = False

    def __init__(self, *, threads: int = 1, precision: str | None = None, memory_format: str | None = None) -> None:
        if threads < 1:
            raise InputError(f"a target needs at least 1 thread, not {threads}")
        self.threads = threads
        self.precision = check_option(self.name, "precision", precision or self.precisions[0], self.precisions)
        self.memory_format = check_option(
            self.name, "memory format", memory_format or self.memory_formats[0], self.memory_formats
        )

    @classmethod
    def path(cls) -> str:
        """Where the class lies: `package.module:Class`."""
        return f"{cls.__module__}:{cls.__qualname__}"

    @property
    def spec(self) -> str:
        """What `get_target` makes this target of: its name or path, and the options that are not the default."""
        names = {path: name for name, path in TARGETS.items()}
        options = self.options()
        threads = None if self.threads == 1 else self.threads
        return str(Spec(names.get(self.path(), self.path()), threads, **options))

    def options(self) -> dict[str, str]:
        """Precision and memory format where they are not the default: what a class without options is never told."""
        chosen = {"precision": self.precision, "memory_format": self.memory_format}
        first = (self.precisions[0], self.memory_formats[0])
        return {name: value for (name, value), default in zip(chosen.items(), first, strict=True) if value != default}

    @abc.abstractmethod
    def available(self) -> str | None:
        """None where the target works, else what is missing and how to get it."""

    @abc.abstractmethod
    def versions(self) -> dict[str, str]:
        """The runtime's name and version: what the fingerprint says beside the device."""

    @abc.abstractmethod
    def pack(self, model: nn.Module, example: Tensor) -> bytes:
        """Turn a network into what travels to the device. The network is left as it was.

        Args:
            model: The network; it is timed in evaluation mode.
            example: An input of the shape that is timed, batch dimension included.
        """

    @abc.abstractmethod
    def time(
        self, payloads: Sequence[bytes], protocol: Protocol, progress: Progress | None = None
    ) -> list[Measurement]:
        """Time packed networks on the device, interleaved.

        Raises:
            TargetError: If the device failed, did not answer, or answered nonsense.
        """

    def pack_layer(self, layer: Layer, copies: int) -> bytes | None:
        """What travels to the device to time one layer, `copies` times over in one graph.

        Zero copies is an empty graph, whose latency is the call overhead. None says that this runtime cannot run
        such a layer alone. Where it says so of one kind of layer, or does not override this, networks are priced by
        multiply-accumulates alone, fitted on end-to-end runs.
        """
        return None

    def copies(self, layer: Layer) -> int:
        """How many copies of a layer to time: 1 and the call overhead is subtracted, n > 1 and (T_n - T_1) / (n - 1).

        More than one is for runtimes with a layout of their own that a graph's input does not have.
        """
        return 1

    def sensors(self) -> Sensors:
        """What watches the device while it is measured; of one that is not this machine, nothing is known."""
        from autoprune.hardware.telemetry import Elsewhere

        return Elsewhere()

    def session(self) -> AbstractContextManager[Timer]:
        """A timer for several batches in a row; a worker that is started once lives as long."""
        return contextlib.nullcontext(self)

    def fingerprint(self) -> dict[str, str]:
        """What must be equal for two latencies to be comparable."""
        return {
            "target": self.name,
            **self.versions(),
            "cpu": cpu_model(),
            "cpu_flags": cpu_flags(),
            "threads": str(self.threads),
            "precision": self.precision,
            "memory_format": self.memory_format,
        }

    def require(self) -> None:
        """Raise a TargetError unless the target works here."""
        missing = self.available()
        if missing is not None:
            raise TargetError(f"target {self.name!r} is not available here: {missing}")


class LocalTarget(Target):
    """A runtime on this machine, timed in a fresh worker process.

    Attributes:
        patience: Seconds without a sign of life after which its worker counts as hanging; loading one network, or one
            block of calls, must take less.
    """

    patience: ClassVar[float] = 120.0

    @abc.abstractmethod
    def load(self, payload: bytes) -> Callable[[], object]:
        """Inside the worker: make a call without arguments out of a payload. One call is one inference."""

    def compute(self, payload: bytes, x: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """What a packed network answers to an input, to check that the runtime runs what it was given.

        Args:
            payload: What `pack` made of a network.
            x: An input of the packed shape.

        Returns:
            The output, or None from a target that does not say.
        """
        return None

    def clock(self) -> Clock:
        """CPU time for work in the calling thread, else the wall clock."""
        return CpuClock() if self.threads == 1 else WallClock()

    def prepare(self) -> None:
        """Inside the worker, once, before anything is loaded: number of threads, modes."""

    def settings(self) -> dict[str, object]:
        """Keyword arguments that rebuild this target in the worker, as JSON values."""
        return {"threads": self.threads, **self.options()}

    def sensors(self) -> Sensors:
        """This machine's, also inside the worker, which reads the energy. A runtime on a GPU: `Sensors(gpu=...)`."""
        from autoprune.hardware.telemetry import Sensors

        return Sensors()

    def peak_memory_mb(self) -> float | None:
        """Inside the worker: the most memory that everything loaded so far has taken, in MiB; None where unknown."""
        return peak_memory_mb()

    def environment(self) -> dict[str, str]:
        """Environment variables of the worker.

        Without the raised thresholds glibc gives large tensors back to the system at every free, and an eager
        network spends its time in page faults.
        """
        threads = str(self.threads)
        return {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
            "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
            "MALLOC_TOP_PAD_": str(1 << 26),
        }

    def session(self) -> AbstractContextManager[Timer]:
        """A worker process, started when the context is entered and ended with it."""
        from autoprune.hardware.client import Worker

        return Worker(self)

    def time(
        self, payloads: Sequence[bytes], protocol: Protocol, progress: Progress | None = None
    ) -> list[Measurement]:
        """Time packed networks in a fresh worker process, interleaved."""
        with self.session() as timer:
            return timer.time(payloads, protocol, progress)


def get_target(
    spec: str, *, threads: int = 1, precision: str | None = None, memory_format: str | None = None
) -> Target:
    """The target of a name, whether or not it works on this machine (ask `available`).

    Args:
        spec: One of `TARGETS`, or `package.module:Class` for a subclass of `Target` of the user's own; then options
            behind an `@`, joined by `+`: `openvino@bf16`, `torch@channels_last+threads=2`.
        threads: How many threads a network may use, if the spec does not say.
        precision: Number format, if the spec does not say: `f32`, `bf16`, `f16`; default what the target does first.
        memory_format: `contiguous` or `channels_last`, likewise.

    Raises:
        InputError: If the name is unknown, the class cannot be imported, or the target has no such option.

    >>> get_target("torch@channels_last").memory_format
    'channels_last'
    """
    wanted = Spec.parse(spec).saying("threads", None if threads == 1 else threads)
    wanted = wanted.saying("precision", precision).saying("memory_format", memory_format)
    if ":" not in wanted.base and wanted.base not in TARGETS:
        nearest = nearest_name(wanted.base, TARGETS)
        raise InputError(f"no target is named {wanted.base!r} (your own is package.module:Class); {nearest}")
    kind = load_class(TARGETS.get(wanted.base, wanted.base))
    # A class without options is not told of any: its `__init__` may take the threads only.
    asked = {
        "precision": (wanted.precision, kind.precisions),
        "memory_format": (wanted.memory_format, kind.memory_formats),
    }
    options = {
        name: check_option(kind.name, name.replace("_", " "), value, known)
        for name, (value, known) in asked.items()
        if value is not None
    }
    return kind(threads=wanted.threads or threads, **{k: v for k, v in options.items() if v != asked[k][1][0]})


def load_class(path: str) -> type[Target]:
    """The class at `package.module:Class`; the working directory is importable.

    Raises:
        InputError: If there is no such module, or no subclass of `Target` in it.
    """
    module_name, _, class_name = path.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:  # noqa: PTH109 - sys.path holds strings
        sys.path.append(os.getcwd())  # noqa: PTH109
    try:
        found: object = importlib.import_module(module_name)
        for part in class_name.split("."):
            found = getattr(found, part)
    except AutopruneError:
        raise
    except Exception as error:  # the user's module may raise anything
        raise InputError(f"target {path!r} cannot be imported: {in_one_line(error)}") from error
    if not (isinstance(found, type) and issubclass(found, Target)) or found in (Target, LocalTarget):
        raise InputError(f"target {path!r} is not a subclass of autoprune.hardware.Target")
    return found
