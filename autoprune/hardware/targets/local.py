"""The contract of a runtime on this machine, timed in a fresh worker process."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.contract.protocol import Measurement, Protocol
from autoprune.hardware.contract.target import Progress, Target, Timer
from autoprune.hardware.sensors.counters import peak_memory_mb
from autoprune.hardware.targets.worker_client import Worker, WorkerSpec
from autoprune.hardware.timing.clocks import Clock, CpuClock, WallClock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autoprune.hardware.sensors.telemetry import Sensors
    from autoprune.quantization.scheme import Scheme

__all__ = ["LocalTarget"]

# The reference kernel of every runtime: what networks consist of, in a tenth of a millisecond, out of the cache.
_REFERENCE = Layer("conv", 32, 32, 1, (16, 16), (16, 16), (3, 3), (1, 1), (1, 1), (1, 1))


class LocalTarget(Target):
    """A runtime on this machine, timed in a fresh worker process.

    Attributes:
        patience: Seconds without a sign of life after which its worker counts as hanging; loading one network, or one
            block of calls, must take less.
        runs_branches: Whether its payloads are ONNX, and of an `If` it runs one branch alone.
        gathers_weights: Whether these may have convolutions whose weights are computed, of any number of channels.
        halves: Precisions of 16 bits in which it computes a whole float32 file that asks for one
            (`autoprune.export.onnx_network.with_precision`).
    """

    patience: ClassVar[float] = 120.0
    runs_branches: ClassVar[bool] = False
    gathers_weights: ClassVar[bool] = False
    halves: ClassVar[tuple[str, ...]] = ()

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

    def caller(self, payload: bytes) -> Callable[[Sequence[NDArray[Any]]], Sequence[NDArray[Any]]] | None:
        """In this process: a packed network that is called with its inputs and gives its outputs.

        None of a target that does not say.
        """
        return None

    def clock(self) -> Clock:
        """CPU time for work in the calling thread, else the wall clock."""
        return CpuClock() if self.threads == 1 else WallClock()

    def prepare(self) -> None:
        """Inside the worker, once, before anything is loaded: number of threads, modes."""

    @property
    def integer_scheme(self) -> Scheme:
        """Types of integers in the precision `int8`: those that suit this machine, probed at first use."""
        from autoprune.hardware.targets.integer_types import integer_types

        return integer_types(self.in_float(), self.in_float().fingerprint())

    def in_float(self) -> LocalTarget:
        """The same runtime in float32."""
        return type(self)(threads=self.threads)

    def settings(self) -> dict[str, object]:
        """Keyword arguments that rebuild this target in the worker, as JSON values."""
        return {"threads": self.threads, **self.options()}

    def sensors(self) -> Sensors:
        """This machine's, also inside the worker, which reads the energy. A runtime on a GPU: `Sensors(gpu=...)`."""
        from autoprune.hardware.sensors.telemetry import Sensors

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
        spec = WorkerSpec(self.name, self.path(), self.settings(), self.environment(), self.patience)
        return Worker(spec, self.reference())

    def reference(self) -> bytes | None:
        """The kernel between two blocks of which every block stands, packed; None for none.

        A 3x3 convolution, which is what most of a network is; none for a runtime that cannot run a layer alone.
        """
        return self.pack_layer(_REFERENCE, 1)

    def time(
        self, payloads: Sequence[bytes], protocol: Protocol, progress: Progress | None = None
    ) -> list[Measurement]:
        """Time packed networks in a fresh worker process, interleaved."""
        with self.session() as timer:
            return timer.time(payloads, protocol, progress)
