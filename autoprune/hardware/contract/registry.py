"""The targets by name: those that ship, and those of other packages (entry points `autoprune.targets`)."""

from __future__ import annotations

from typing import Any

from autoprune.foundations.registry import Registry

__all__ = ["ACCELERATOR", "FAMILIES", "TARGETS", "family_members"]

# Each is a subclass of `Target`, which needs this file to find its own name: so that is checked by `get_target`.
TARGETS: Registry[Any] = Registry(
    "target",
    {
        "torch": "autoprune.hardware.targets.torch.eager:TorchTarget",
        "torch-compile": "autoprune.hardware.targets.torch.compiled:TorchCompileTarget",
        "onnxruntime": "autoprune.hardware.targets.onnx.cpu:OnnxRuntimeTarget",
        "openvino": "autoprune.hardware.targets.openvino.cpu:OpenVinoTarget",
        "executorch": "autoprune.hardware.targets.executorch:ExecuTorchTarget",
        "cuda": "autoprune.hardware.targets.torch.cuda:CudaTarget",
        "cuda-graphs": "autoprune.hardware.targets.torch.cuda:CudaGraphsTarget",
        "onnxruntime-cuda": "autoprune.hardware.targets.onnx.cuda:OnnxRuntimeCudaTarget",
        "onnxruntime-tensorrt": "autoprune.hardware.targets.onnx.cuda:OnnxRuntimeTensorRtTarget",
    },
    "autoprune.targets",
)
"""Classes by name, imported when they are asked for, so that a missing runtime costs nothing."""

ACCELERATOR = "accelerator"

FAMILIES: Registry[Any] = Registry(
    "family of targets", {ACCELERATOR: "autoprune.hardware.targets.accelerator:AcceleratorTarget"}
)
"""Classes of targets that are named `family:member`; the family's name wins over a package of a user's own."""


def family_members() -> tuple[str, ...]:
    """The targets of families that ship, by the names that `get_target` takes."""
    return tuple(f"{family}:{member}" for family in FAMILIES for member in FAMILIES.get(family).members())
