"""A model as a program of ``torch.export``, by whichever of several ways works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import nn

from autoprune.errors import UnsupportedModelError
from autoprune.graph.trace.outputs import tensors_of
from autoprune.graph.trace.read_values import Answers, Reads
from autoprune.graph.trace.refusal import cannot_trace, require_batch
from autoprune.graph.trace.size_origins import SizeOrigins, recording
from autoprune.graph.trace.source_lines import exception_line, raised
from autoprune.models.copying import isolated
from autoprune.models.inputs.example import Example

__all__ = ["COMPARED", "PREFIX", "exported"]

BATCH = 2  # traced with two images: a batch of one looks like a dimension that is always 1


class _OnlyTensors(nn.Module):
    """The model with its output as plain tensors: exporting knows few other kinds of output."""

    def __init__(self, model: nn.Module, modes: Sequence[AbstractContextManager[Any]]) -> None:
        super().__init__()
        self.model = model
        self.modes = modes

    def forward(self, *args: Any, **kwargs: Any) -> list[torch.Tensor]:
        """All tensors of the model's output."""
        with ExitStack() as stack:
            for mode in self.modes:
                stack.enter_context(mode)
            return tensors_of(self.model(*args, **kwargs))


PREFIX = "model."  # of the names inside _OnlyTensors
COMPARED = "autoprune.compared"


def exported(model: nn.Module, example: Example) -> tuple[torch.export.ExportedProgram, int]:
    """The program and the first dimension of its inputs: that of two samples, or the example's own where those fail.

    What fails untouched is tried once more as a model that has run, whose constants are known.
    """
    own = next((t.shape[0] for t in example.tensors() if t.dim() > 0), 1)
    pair = example.with_batch(BATCH)
    try:
        return _export(_copy(model, _unwritten(model)), pair), BATCH
    except Exception:  # noqa: BLE001 - exporting runs the user's code; a fixed batch size is one cause
        _require_forward(model, example)
    for ready, given, batch in ((True, pair, BATCH), (False, example, own)):
        try:
            program = _export(*_run_before(model, given)) if ready else _export(_copy(model), given)
        except Exception:  # noqa: BLE001 - as above; what fails last is reported
            continue
        if given is example:
            require_batch(_copy(model), example)
        return program, batch
    try:
        return _export(*_run_before(model, example)), own
    except UnsupportedModelError:
        raise
    except Exception as error:
        raise UnsupportedModelError(cannot_trace(error)) from error


def _copy(model: nn.Module, memo: Mapping[int, object] | None = None) -> nn.Module:
    """A copy in evaluation mode, to be traced; with other tensors in place of those in ``memo``, by id."""
    try:
        shadow = isolated(model, memo).eval()
    except Exception as error:
        raise UnsupportedModelError(f"the model cannot be copied: {exception_line(error)}") from error
    for module in shadow.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.register_forward_pre_hook(_apart, with_kwargs=True)
    return shadow


def _unwritten(model: nn.Module) -> dict[int, nn.Parameter]:
    """A parameter for each (by id) of the same kind whose memory nobody writes to: exporting reads no values of them.

    Memory that is never written to takes no room, so that a trace takes none for the weights.
    """
    plain = [p for p in model.parameters() if type(p) is nn.Parameter and p.layout is torch.strided]
    return {id(p): nn.Parameter(torch.empty_like(p), p.requires_grad) for p in plain}


def _apart(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Keys and values that are one tensor as two: torch's attention splits its weight in three then, not at a number.

    Where the queries are the same tensor, too, it is left: that case is one product.
    """
    given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
    query, key, value = (given.get(name) for name in ("query", "key", "value"))
    if query is key or key is not value or not isinstance(value, torch.Tensor):
        return args, kwargs
    if len(args) > 2:
        return (*args[:2], value.view_as(value), *args[3:]), kwargs
    return args, {**kwargs, "value": value.view_as(value)}


def _run_before(model: nn.Module, example: Example) -> tuple[nn.Module, Example, Reads]:
    """A copy that has run: what it computes at its first run is there, and what it reads out of constants is known."""
    shadow = _copy(model)
    example.run(shadow)
    given = example.copied()
    reads = Reads((*given.tensors(), *shadow.parameters()))
    with reads:
        shadow(*given.args, **given.kwargs)
    return shadow, example, reads


def _export(shadow: nn.Module, given: Example, reads: Reads | None = None) -> torch.export.ExportedProgram:
    answers = [] if reads is None else [Answers(reads)]
    try:
        example = given.copied()
        origins = SizeOrigins()
        with recording(shadow, origins):
            wrapped = _OnlyTensors(shadow, [origins, *answers])
            program = torch.export.export(wrapped, example.args, dict(example.kwargs))
        program.graph_module.meta[COMPARED] = tuple(origins.compared)
        return program
    except Exception:  # noqa: BLE001 - the user's code may want plain numbers; what else fails, fails again
        example = given.copied()
        return torch.export.export(_OnlyTensors(shadow, answers), example.args, dict(example.kwargs))


def _require_forward(model: nn.Module, example: Example) -> None:
    """Run a copy of the model on the example itself: what fails there is no matter of exporting."""
    try:
        example.run(_copy(model))
    except UnsupportedModelError:
        raise
    except Exception as error:
        shapes = " and ".join(str(list(t.shape)) for t in example.tensors()) or "none"
        raise UnsupportedModelError(
            f"the model's forward fails on an input of shape {shapes}: {raised(error)}"
        ) from error
