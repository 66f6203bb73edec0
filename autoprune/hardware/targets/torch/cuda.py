"""Targets `cuda` and `cuda-graphs`: PyTorch on an NVIDIA GPU, timed by CUDA events."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, ClassVar

from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.sensors.counters import preemptions
from autoprune.hardware.sensors.gpu import first_gpu
from autoprune.hardware.sensors.telemetry import Sensors
from autoprune.hardware.sparse_kernels.rules import SPARSE_VARIANT
from autoprune.hardware.targets.torch.eager import TorchTarget
from autoprune.hardware.timing.clocks import Clock

__all__ = ["CudaClock", "CudaGraphsTarget", "CudaTarget"]

_WARM_UP = 3  # calls before a graph is captured: libraries choose their kernels and allocate their workspaces


class CudaClock:
    """Time on the GPU between two events, from an idle GPU on; what the processor takes to launch is in it.

    Args:
        cuda: `torch.cuda`, or what behaves like it.
    """

    name = "cuda-events"

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._start = cuda.Event(enable_timing=True)
        self._end = cuda.Event(enable_timing=True)

    def sample(self, call: Callable[[], object], loops: int) -> tuple[float, bool]:
        """Seconds that `loops` calls took, and whether the process kept its core while it launched them."""
        self._cuda.synchronize()
        before = preemptions()
        self._start.record()
        for _ in range(loops):
            call()
        self._end.record()
        self._end.synchronize()
        return self._start.elapsed_time(self._end) * 1e-3, preemptions() == before


class CudaTarget(TorchTarget):
    """Eager PyTorch on a GPU: at batch 1 a small network takes as long as the processor takes to launch its kernels.

    In float32 TensorFloat-32 is off, which PyTorch leaves on for convolutions; cuDNN tries its algorithms first.
    """

    name: ClassVar[str] = "cuda"
    channel_multiple: ClassVar[int] = 8
    channel_multiple_reason: ClassVar[str] = (
        "not measured: NVIDIA asks for multiples of 8 where tensor cores are to be used"
    )
    precisions: ClassVar[tuple[str, ...]] = ("f32", "bf16", "f16")
    device: ClassVar[str] = "cuda"
    variants: ClassVar[frozenset[str]] = frozenset({SPARSE_VARIANT})

    def available(self) -> str | None:
        """None when PyTorch was built for CUDA and sees a device."""
        missing = super().available()
        if missing is not None:
            return missing
        import torch

        if torch.version.cuda is None:
            return f"torch {torch.__version__} was built without CUDA; install a CUDA build (pytorch.org)"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a driver that is too old, and says False
            seen = torch.cuda.is_available()
        return None if seen else "no CUDA device is seen; check nvidia-smi and CUDA_VISIBLE_DEVICES"

    def versions(self) -> dict[str, str]:
        """The versions of torch, CUDA, cuDNN and the driver, and the device with its compute capability."""
        import torch

        gpu = first_gpu()
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        major, minor = torch.cuda.get_device_capability()
        return {
            "runtime": f"torch {version('torch')} CUDA {torch.version.cuda} cuDNN {cudnn}",
            "gpu": torch.cuda.get_device_name(),
            "capability": f"{major}.{minor}",
            "driver": gpu.driver if gpu else "unknown",
        }

    def clock(self) -> Clock:
        """Events on the GPU's own clock."""
        import torch

        return CudaClock(torch.cuda)

    def prepare(self) -> None:
        """Set threads, precision and algorithm choice, and turn autograd off."""
        import torch

        super().prepare()
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True

    def sensors(self) -> Sensors:
        """Inside the worker: the GPU's energy."""
        return Sensors(gpu=0)

    def peak_memory_mb(self) -> float | None:
        """Inside the worker: the most memory of the GPU that tensors have taken, in MiB."""
        import torch

        return round(torch.cuda.max_memory_allocated() / 2**20, 1)


class CudaGraphsTarget(CudaTarget):
    """The same kernels captured once and replayed in one launch: the processor's part of the time is gone."""

    name: ClassVar[str] = "cuda-graphs"

    def load(self, payload: bytes) -> Callable[[], object]:
        """Inside the worker: a replay of the captured network or layer."""
        import torch

        call = super().load(payload)
        copies = json.loads(payload)["copies"] if payload.startswith(b"{") else 1
        return captured(call if copies == 1 else lambda: [call() for _ in range(copies)][-1], torch.cuda)

    def copies(self, layer: Layer) -> int:
        """Sixteen kernels in one graph: launching a graph takes longer than most kernels, and (T_16 - T_1) / 15 not."""
        return 16

    def pack_layer(self, layer: Layer, copies: int) -> bytes | None:
        """The layer's description; an empty graph cannot be captured, one that adds two numbers can."""
        least = Layer("elementwise", 1, 1)
        return super().pack_layer(layer, copies) if copies else super().pack_layer(least, 1)


def captured(call: Callable[[], object], cuda: Any) -> Callable[[], object]:
    """A call as a CUDA graph: what it launches, launched at once.

    Args:
        call: Launches work on the current stream, the same whenever it is called.
        cuda: `torch.cuda`, or what behaves like it.
    """
    side = cuda.Stream()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        for _ in range(_WARM_UP):
            call()
    cuda.current_stream().wait_stream(side)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        output = call()

    # A graph keeps addresses, not tensors: as long as it is played, `call` holds the weights and the input.
    def replay(held: tuple[Callable[[], object], object] = (call, output)) -> object:
        graph.replay()
        return held[1]

    return replay
