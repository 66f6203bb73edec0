"""Target `torch-compile`: PyTorch with its graph compiled by Inductor for this machine's CPU."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.targets.torch.eager import TorchTarget

if TYPE_CHECKING:
    from autoprune.models.inputs.example import Example

__all__ = ["TorchCompileTarget"]

_COMPILERS = ("g++", "clang++", "c++")


class TorchCompileTarget(TorchTarget):
    """`torch.compile` in its default mode; what is not a convolution or linear layer becomes C++ loops.

    A network takes from seconds to a minute and a half to compile, a layer alone not much less, so only whole networks
    are timed and a table follows their multiply-accumulates. The seconds stand under `load_s` among the conditions of
    every measurement.
    """

    name: ClassVar[str] = "torch-compile"
    channel_multiple_reason: ClassVar[str] = "as in eager PyTorch: the convolutions are the same kernels"
    patience: ClassVar[float] = 900.0
    compiles_long: ClassVar[bool] = True

    def available(self) -> str | None:
        """None when there is a C++ compiler, which Inductor calls."""
        if super().available() is not None:
            return super().available()
        named = os.environ.get("CXX")
        if any(shutil.which(compiler) for compiler in ((named,) if named else _COMPILERS)):
            return None
        return f"no C++ compiler ({named or ', '.join(_COMPILERS)}); install one, such as the package g++, or set CXX"

    def versions(self) -> dict[str, str]:
        """The version of torch."""
        return {"runtime": f"torch {version('torch')} inductor"}

    def pack_layer(self, layer: Layer, copies: int) -> bytes | None:
        """None: compiling hundreds of layers would take hours."""
        return None

    def environment(self) -> dict[str, str]:
        """The compiler works in the worker itself: helpers of its own would outlive it."""
        return {**super().environment(), "TORCHINDUCTOR_COMPILE_THREADS": "1"}

    def prepare(self) -> None:
        """Set the threads, turn autograd off, and start without what an earlier worker has compiled."""
        # The worker's temporary folder goes with it.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / "inductor")
        super().prepare()

    def _open(self, payload: bytes) -> tuple[Callable[..., Any], Example]:
        """The packed network, compiled: called once."""
        import torch

        module, example = super()._open(payload)
        compiled = torch.compile(module, dynamic=False, fullgraph=True)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # parts of torch that it loads warn of others
            compiled(*example.args, **example.kwargs)
        return compiled, example
