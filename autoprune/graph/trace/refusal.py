"""What is said of a model that cannot be traced: where, why, and what to change."""

from __future__ import annotations

import traceback

import torch
from torch import nn

from autoprune.errors import UnsupportedModelError
from autoprune.graph.trace.outputs import tensors_of
from autoprune.graph.trace.source_lines import exception_line, user_line
from autoprune.models.inputs.example import Example

__all__ = ["cannot_trace", "require_batch", "require_python"]

# (part of the exception's type or text, what it means, what to do)
_BATCH_AND_UNITS = 2  # dimensions
_VALUES = "what it does depends on values in a tensor"
_MASKS = "write it with torch.where or masks, or take it out of forward"
_CAUSES = (
    ("DataDependent", _VALUES, _MASKS),
    ("UserError", _VALUES, _MASKS),
    ("numpy()", "it leaves torch for NumPy", "write it with torch operators, or take it out of forward"),
    ("Mutating", "it changes the module's attributes", "keep state in registered buffers"),
    ("assigned during export", "it changes the module's attributes", "keep state in registered buffers"),
)
_ELSE = ("", "torch.export cannot trace it", "make it free of what torch cannot record")


def cannot_trace(error: BaseException) -> str:
    """Two lines: what in the forward cannot be traced, with the user's source line, and what to change."""
    text = f"{type(error).__name__}: {error}"
    _, why, remedy = next((cause for cause in _CAUSES if cause[0] in text), _ELSE)
    line = user_line((frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__))
    place = f" at {line}" if line else ""
    return (
        f"the model cannot be traced{place}: {why} ({exception_line(error)})\n"
        f"{remedy}; or hand over the part of the model that is to be pruned"
    )


def require_python(model: nn.Module) -> None:
    """Check that all of the model is Python: a TorchScript module can be neither traced nor cut.

    Raises:
        UnsupportedModelError: Part of it is TorchScript, or packed for quantised kernels.
    """
    for name, module in model.named_modules():
        subject = f"layer {name!r}" if name else "the model"
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedModelError(
                f"{subject} is TorchScript ({module.original_name}), which cannot be cut;"
                " hand over the nn.Module that it was made from"
            )
        if hasattr(module, "_packed_params"):
            raise UnsupportedModelError(
                f"{subject} is already quantised ({type(module).__name__}), its weights are packed;"
                " prune the network first and quantise it then"
            )


def require_batch(model: nn.Module, example: Example) -> None:
    """Check that the example has a batch dimension: torch's layers also take a single vector or image.

    Args:
        model: A copy, which is run, with the example and with the example as a batch of one.
        example: An example input.

    Raises:
        UnsupportedModelError: A convolution is given one image, or all that is given are vectors, and with one
            dimension more in front there is one dimension more in front of each result.
    """
    single = [all(tensor.dim() < _BATCH_AND_UNITS for tensor in example.tensors())]

    def note(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        single.append(given[0].dim() == len(module.kernel_size) + 1)  # type: ignore[arg-type]

    for module in model.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            module.register_forward_pre_hook(note)
    try:
        alone = tensors_of(example.run(model))
        is_single = any(single)
        batch = tensors_of(example.map(lambda tensor: tensor[None]).run(model)) if is_single else []
    except Exception:  # noqa: BLE001 - it takes no further dimension, so it has its batch dimension
        return
    if batch and all(one[None].shape == other.shape for one, other in zip(alone, batch, strict=False)):
        shape = list(next(iter(example.tensors())).shape)
        raise UnsupportedModelError(
            f"the example input {shape} has no batch dimension; hand over a batch, as {[1, *shape]}"
        )
