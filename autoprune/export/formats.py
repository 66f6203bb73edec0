"""The small network for other programs: written only after it was loaded again and gave the same outputs."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import AutopruneError, InputError, MissingExtraError, UnsupportedModelError, first_line
from autoprune.export.naming import rename_reserved
from autoprune.foundations.files import replacing
from autoprune.graph.trace.quiet import quiet
from autoprune.models import output_of, with_tensor_output
from autoprune.models.inputs.example import Example, as_example, open_batch
from autoprune.models.pretrained import first_stock_difference, is_pretrained

__all__ = ["export_onnx", "export_pretrained", "export_pt2", "onnx_bytes"]

_TOLERANCE = 1e-4  # largest difference to PyTorch's outputs, relative to their largest magnitude
_BATCHES = (1, 3)  # of the inputs that are compared: a dynamic batch must be one


def export_onnx(model: nn.Module, example: Any, out: Path) -> None:
    """Write a network as ONNX with a dynamic batch, after checking it against PyTorch in onnxruntime.

    Args:
        model: The network; exported in evaluation mode.
        example: An input, (1, ...).
        out: The file; written only if the outputs agree.

    Raises:
        MissingExtraError: If onnx or onnxruntime is not installed.
        UnsupportedModelError: If the network cannot be exported, or onnxruntime does not take it.
        AutopruneError: If the exported network's outputs differ from PyTorch's, or it does not run.
    """
    content = onnx_bytes(model, example)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with replacing(out) as temporary:
        temporary.write_bytes(content)
        try:
            session = onnxruntime.InferenceSession(temporary.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it has exceptions of its own for every fault
            raise UnsupportedModelError(
                f"onnxruntime does not take this network as ONNX: {first_line(error)[:300]}; {out} was not written"
            ) from error
        names = [value.name for value in session.get_inputs()]

        def outputs(inputs: Example) -> Tensor:
            try:
                fed = dict(zip(names, (tensor.numpy() for tensor in inputs.tensors()), strict=True))
                return torch.from_numpy(session.run(None, fed)[0])
            except Exception as error:
                raise AutopruneError(
                    f"onnxruntime cannot run the exported network on inputs of shape {_shapes(inputs)}:"
                    f" {first_line(error)[:300]}; {out} was not written"
                ) from error

        _check(model, example, outputs, out)


def onnx_bytes(model: nn.Module, example: Any) -> bytes:
    """A network as ONNX with a dynamic batch, as it is delivered; not checked.

    Raises:
        MissingExtraError: If onnx or onnxruntime is not installed.
        UnsupportedModelError: If the network cannot be exported.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(str(error.name), "onnx") from error
    from autoprune.export import onnx as onnx_export

    return onnx_export.to_onnx(model, example, dynamic_batch=True)


def export_pt2(model: nn.Module, example: Any, out: Path) -> None:
    """Write a network as a `torch.export` program with a dynamic batch, after checking it against the network.

    `torch.export.load(out).module()` gives it back, without its Python source.

    Args:
        model: The network; exported in evaluation mode.
        example: An input, (1, ...).
        out: The file; written only if the outputs agree.

    Raises:
        UnsupportedModelError: If the network cannot be exported with a dynamic batch.
        AutopruneError: If the exported network's outputs differ from the network's.
    """
    content = _exported(model.eval(), example)
    with replacing(out) as temporary:
        temporary.write_bytes(content)
        program = torch.export.load(io.BytesIO(temporary.read_bytes())).module()
        _check(model, example, lambda inputs: output_of(inputs.run(program)), out)


def export_pretrained(model: nn.Module, example: Any, out: Path) -> None:
    """Write a `transformers` model as its own `save_pretrained` does, for the stock class to load.

    Args:
        model: The small network, whose config says its widths (`autoprune.apply` sees to that where it can).
        example: An input, (1, ...).
        out: A folder that is not there yet, or empty; written only if the stock class loads it and gives the same
            outputs.

    Raises:
        UnsupportedModelError: If it is no model of `transformers`, or its stock class cannot have its shapes; the first
            layer that differs is named.
        InputError: If the folder holds something, or cannot be written to.
        AutopruneError: If the loaded network's outputs differ from the network's.
    """
    if not is_pretrained(model):
        raise UnsupportedModelError(
            f"{type(model).__name__} is no model of transformers; export it as safetensors, onnx or pt2"
        )
    difference = first_stock_difference(model)
    if difference is not None:
        raise UnsupportedModelError(
            f"the stock {type(model).__name__} cannot be this network: {difference}. No config says what it is; export"
            " safetensors and policy, or prune evenly (--tie)"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists; name a folder that is not there yet")
    stock: Any = type(model)
    writer: Any = model
    with _filling(out) as temporary:
        with quiet(), redirect_stderr(io.StringIO()):  # it draws progress bars
            writer.save_pretrained(temporary)
            loaded = stock.from_pretrained(temporary).eval()
        _check(model, example, lambda inputs: output_of(inputs.run(loaded)), out)


@contextmanager
def _filling(out: Path) -> Iterator[Path]:
    """A folder beside `out`, renamed onto it when the block ends without an error."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from error
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp's folders are the owner's alone
        temporary.replace(out)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exported(model: nn.Module, example: Any) -> bytes:
    """A network as the bytes of a `torch.export` program."""
    two = as_example(example).with_batch(2)  # a batch of one would be traced as the constant 1
    stream = io.BytesIO()
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(
                with_tensor_output(model), two.args, dict(two.kwargs), dynamic_shapes=open_batch(two)
            )
            torch.export.save(rename_reserved(program), stream)
    except Exception as error:  # the model's own code runs, and may raise anything
        raise UnsupportedModelError(
            f"this model cannot be exported with a dynamic batch: {first_line(error)[:300]}"
        ) from error
    return stream.getvalue()


def _inputs_like(example: Any, batch: int, generator: torch.Generator) -> Example:
    """Random inputs; whole numbers are ids of something, and those of the example are sure to exist."""

    def like(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        return torch.randn(*tensor.shape, generator=generator).to(tensor.dtype)

    return as_example(example).with_batch(batch).map(like)


def _shapes(inputs: Example) -> str:
    return ", ".join(str(list(tensor.shape)) for tensor in inputs.tensors())


def _check(model: nn.Module, example: Any, exported: Callable[[Example], Tensor], out: Path) -> None:
    """Compare an exported network's outputs with the network's, on random inputs in batches of several sizes.

    Raises:
        AutopruneError: If they differ.
    """
    generator = torch.Generator().manual_seed(0)
    model = model.eval()
    for batch in _BATCHES:
        inputs = _inputs_like(example, batch, generator)
        with torch.inference_mode():
            expected, found = output_of(inputs.run(model)), exported(inputs)
        if found.shape != expected.shape:
            raise AutopruneError(
                f"the exported network's outputs have the shape {list(found.shape)}, PyTorch's {list(expected.shape)};"
                f" {out} was not written"
            )
        scale = float(expected.abs().max()) or 1.0
        difference = float((found - expected).abs().max()) / scale
        if not difference <= _TOLERANCE:  # not a number fails too
            raise AutopruneError(
                f"the exported network's outputs differ from PyTorch's by {difference:.2e} of their magnitude;"
                f" {out} was not written"
            )
