"""A network whose product is an ONNX file: called as a module, timed and delivered as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoprune.errors import InputError, MissingExtraError, first_line
from autoprune.models.inputs.example import Example

__all__ = [
    "QUANTIZED_FILE",
    "Caller",
    "OnnxNetwork",
    "network_in_run",
    "opened_file",
    "precision_of",
    "with_fixed_batch",
    "with_precision",
]

QUANTIZED_FILE = "quantized.onnx"
"""Of a run: the network with integers, whether or not it is what the run hands over (`model.onnx`)."""

_PRECISION = "autoprune.precision"  # key of a file's metadata

Caller = Callable[[Sequence[NDArray[Any]]], Sequence[NDArray[Any]]]
"""Inputs in the file's order -> outputs."""


class OnnxNetwork(nn.Module):
    """An ONNX file as a module for inference: tensors in, the first output out. It cannot be trained.

    Args:
        content: The file, with a dynamic batch.
        caller: What runs it; onnxruntime on the CPU if None.

    Attributes:
        file: The file's bytes, uint8 (bytes,); so they are in the module's state, too.
    """

    file: Tensor

    def __init__(self, content: bytes, caller: Caller | None = None) -> None:
        super().__init__()
        self.register_buffer("file", torch.frombuffer(bytearray(content), dtype=torch.uint8))
        self._caller = caller
        self.eval()

    @property
    def content(self) -> bytes:
        """The file."""
        return self.file.numpy().tobytes()

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Run the file on the tensors among the arguments, in their order."""
        if self._caller is None:
            self._caller = opened_file(self.content)
        fed = [np.ascontiguousarray(tensor.detach().cpu().numpy()) for tensor in Example(inputs, named).tensors()]
        return torch.from_numpy(np.array(self._caller(fed)[0]))

    def __getstate__(self) -> dict[str, Any]:
        """Without what runs it, which cannot be copied; a copy opens the file itself."""
        return {**self.__dict__, "_caller": None}


def network_in_run(run: Path) -> OnnxNetwork:
    """The network that a run hands over as a file.

    Raises:
        InputError: If it cannot be read, or is no ONNX that onnxruntime takes.
    """
    path = run / "model.onnx"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        return OnnxNetwork(content, opened_file(content))
    except MissingExtraError:
        raise
    except Exception as error:  # onnxruntime has exceptions of its own for every fault
        raise InputError(f"{path} is no ONNX file that onnxruntime takes: {first_line(error)[:200]}") from error


def with_fixed_batch(content: bytes, batch: int) -> bytes:
    """The same file for batches of one size, as runtimes are timed.

    Args:
        content: A file whose inputs begin with the batch.
        batch: Its size.
    """
    import onnx

    model = onnx.load_from_string(content)
    opened = {value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input} - {""}
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param in opened and dimension.dim_param:
                dimension.dim_value = batch
    del model.graph.value_info[:]
    fixed: bytes = model.SerializeToString(deterministic=True)
    return fixed


def with_precision(content: bytes, precision: str) -> bytes:
    """The same file, which says in its metadata in which precision it was verified.

    ONNX has no other place for a number format that a runtime chooses: the weights stay float32.

    Args:
        content: In float32.
        precision: As a target names it: `bf16`.
    """
    import onnx

    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, {**_metadata(model), _PRECISION: precision})
    stored: bytes = model.SerializeToString(deterministic=True)
    return stored


def precision_of(content: bytes) -> str | None:
    """The precision in which a file was verified; None where it says nothing."""
    if _PRECISION.encode() not in content:  # most: a large file need not be read for that
        return None
    import onnx

    return _metadata(onnx.load_from_string(content)).get(_PRECISION)


def _metadata(model: Any) -> dict[str, str]:
    return {each.key: each.value for each in model.metadata_props}


def opened_file(content: bytes) -> Caller:
    """A function that runs an ONNX file in onnxruntime on the CPU.

    Raises:
        MissingExtraError: If onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(fed: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        found: Sequence[NDArray[Any]] = session.run(None, dict(zip(names, fed, strict=True)))
        return found

    return run
