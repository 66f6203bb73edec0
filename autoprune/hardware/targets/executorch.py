"""Target `executorch`: ExecuTorch's runtime with the XNNPACK delegate, on this machine's CPU."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

from autoprune.errors import UnsupportedModelError
from autoprune.hardware.targets.local import LocalTarget

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

__all__ = ["ExecuTorchTarget"]

# What lowering imports, by import name and by the name under which it is installed.
_NEEDED = {
    "executorch": "executorch",
    "torchao": "torchao",
    "flatbuffers": "flatbuffers",
    "ruamel": "ruamel.yaml",
    "tabulate": "tabulate",
}


class ExecuTorchTarget(LocalTarget):
    """ExecuTorch: what PyTorch runs on phones, here on the same kernels' x86 side, in float32.

    Lowering a network takes ten seconds and more, so only whole networks are timed and a table follows their
    multiply-accumulates.
    """

    name: ClassVar[str] = "executorch"
    channel_multiple: ClassVar[int] = 4
    channel_multiple_reason: ClassVar[str] = "a safe guess: XNNPACK's kernels compute several output channels at once"
    patience: ClassVar[float] = 300.0
    compiles_long: ClassVar[bool] = True

    def available(self) -> str | None:
        """None when executorch and what its lowering imports are installed, with XNNPACK in its runtime."""
        missing = [pip for name, pip in _NEEDED.items() if importlib.util.find_spec(name) is None]
        if missing:
            return (
                f"{', '.join(missing)} not installed; pip install 'autoprune[executorch]', or, without what it does"
                f" not need here, pip install --no-deps {' '.join(missing)}"
            )
        return None

    def versions(self) -> dict[str, str]:
        """The version of executorch."""
        return {"runtime": f"executorch {version('executorch')} XNNPACK"}

    def pack(self, model: nn.Module, example: Any) -> bytes:
        """The network lowered to an ExecuTorch program, as much of it as possible given to XNNPACK.

        Raises:
            UnsupportedModelError: If the network cannot be lowered.
        """
        import torch

        from autoprune.export.folding import fold_batch_norm
        from autoprune.graph.trace.quiet import quiet
        from autoprune.models.inputs.example import as_example

        self.require()
        folded, given = fold_batch_norm(model, example), as_example(example)
        try:
            with quiet():
                lower, partitioner = _lowering()
                program = torch.export.export(folded, given.args, dict(given.kwargs))
                content: bytes = lower(program, partitioner=[partitioner()]).to_executorch().buffer
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise UnsupportedModelError(f"this model cannot be lowered to ExecuTorch: {reason}") from error
        return content

    def load(self, payload: bytes) -> Callable[[], object]:
        """Inside the worker: the program's forward on one input."""
        import torch

        method, held = self._method(payload)
        meta, draw = method.method_meta(), torch.Generator().manual_seed(0)
        sizes = [tuple(meta.input_tensor_meta(index).sizes()) for index in range(meta.num_inputs())]
        inputs = tuple(torch.randn(size, generator=draw) for size in sizes)

        def call(held: object = held) -> object:
            return method(inputs)

        return call

    def compute(self, payload: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's output."""
        import torch

        method, held = self._method(payload)
        output: NDArray[np.float32] = method((torch.from_numpy(x),))[0].numpy().copy()
        del held
        return output

    def _method(self, payload: bytes) -> tuple[Any, object]:
        """The program's forward, and what must outlive it: it reads the weights where they lie in the payload."""
        importlib.import_module("torch")  # loads the libraries that the next line's needs
        # The public wrapper around this one imports the whole exporter, which takes ten seconds.
        runtime = importlib.import_module("executorch.extension.pybindings._C")
        if runtime._threadpool_get_thread_count() != self.threads:  # as many as there are cores
            runtime._unsafe_reset_threadpool(self.threads)  # unsafe while a method runs; none does
        program = runtime._load_program_from_buffer(payload)
        return program.load_method("forward"), (payload, program)


def _lowering() -> tuple[Callable[..., Any], Callable[[], Any]]:
    with contextlib.suppress(ImportError):
        importlib.import_module("torchao")  # its complaints about kernels for GPUs are heard here, in silence
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    return to_edge_transform_and_lower, XnnpackPartitioner
