"""The copy of a model that a proof experiments on: double precision, random weights and statistics, random input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import UnsupportedModelError
from autoprune.graph.analysis import Index
from autoprune.graph.proof.doubled import Doubled
from autoprune.graph.proof.draws import steady_draws
from autoprune.graph.proof.random_weights import random_like, randomise
from autoprune.graph.proof.silenced import silenced
from autoprune.graph.trace.export import Trace
from autoprune.graph.trace.outputs import tensors_of
from autoprune.graph.trace.quiet import quiet
from autoprune.graph.trace.source_lines import raised
from autoprune.models.copying import isolated
from autoprune.models.inputs.example import Example
from autoprune.models.state import state_kept

__all__ = ["SEED", "Shadow", "Shadows", "call"]

SEED = 20180910
LARGE = 2**27  # parameters from which a copy in double precision is too large
MATRIX = 2**16  # numbers from which a matrix of such a network keeps its own precision


@dataclass(frozen=True, eq=False)
class Shadow:
    """A copy of a model to experiment on.

    Attributes:
        network: In evaluation mode; its own tensors.
        example: An input for it, in its precision.
        tolerance: Of comparisons, relative to the largest output.
        outputs: What it returns for the example, under ``SEED``.
        read_only: Names of the parameters that its forward does not write to.
        traced: The model's trace, which tells whether it draws random numbers.
        doubled: How it is computed in double precision where its weights are not stored in it.
    """

    network: nn.Module
    example: Example
    tolerance: float
    outputs: list[torch.Tensor]
    read_only: frozenset[str]
    traced: Trace
    doubled: Doubled | None = None

    def computing(self) -> AbstractContextManager[Any]:
        """A context in which it, and what is cut from it, is computed in the precision of its example."""
        return self.doubled or nullcontext()

    @contextmanager
    def silenced(self, tensors: Mapping[str, torch.Tensor], places: Sequence[tuple[str, int, Index]]) -> Iterator[None]:
        """These places of its tensors at 0, as in ``silenced``; a large network's weights are only read so."""
        if self.doubled is None:
            with silenced(tensors, places):
                yield
            return
        read = [place for place in places if place[0] in self.read_only]
        buffers = [place for place in places if place[0] not in self.read_only]
        with silenced(tensors, buffers), self.doubled.silenced(tensors, read):
            yield

    def resized(self, sized: Example) -> Shadow | None:
        """The same copy with a random input of another size; None where it fails or returns what is not finite."""
        stored = next((t.dtype for t in self.network.parameters() if t.is_floating_point()), torch.float32)
        dtype = torch.float64 if self.doubled else stored
        random = random_like(sized, torch.Generator().manual_seed(SEED)).map(lambda t: t.to(_of(dtype, t)))
        try:
            outputs = _run(self.network, random, self.traced, self.doubled)
        except Exception:  # noqa: BLE001 - the user's forward may raise anything
            return None
        return replace(self, example=random, outputs=outputs) if _finite(outputs) is True else None


class Shadows:
    """Copies of one model, each made at its first use.

    Args:
        model: The dense model; not changed.
        example: An example input.
        traced: The model's trace.
        economical: Whether a large network's copy may keep its weights in their own precision, to be run in its
            ``computing`` only.
    """

    def __init__(self, model: nn.Module, example: Example, traced: Trace, *, economical: bool = False) -> None:
        self._model, self._example, self._traced = model, example, traced
        self._economical = economical and sum(p.numel() for p in model.parameters()) >= LARGE
        self._made: dict[int, Shadow] = {}

    def __call__(self, as_traced: bool) -> Shadow:
        """One for inputs with as many samples as the trace has, or for one sample.

        Raises:
            UnsupportedModelError: The model's forward fails, or returns NaN or nothing finite.
        """
        batch = self._traced.batch if as_traced else 1
        if batch not in self._made:
            self._made.clear()  # one at a time: each is twice as large as a model of single precision
            sized = self._example.with_batch(batch)
            small = _economical(self._model, sized, self._traced) if self._economical else None
            self._made[batch] = small or _prepared(self._model, sized, self._example, self._traced)
        return self._made[batch]


def call(model: nn.Module, example: Example, *, with_history: bool = False) -> list[torch.Tensor]:
    """The tensors of the model's output for the example, under one seed and from the state that the model is in.

    To be called inside ``quiet()``, which restores the random state; what the forward keeps is undone here.
    """
    torch.manual_seed(SEED)
    with state_kept(model):
        tensors = tensors_of(example.run(model))
        return tensors if with_history else [tensor.detach() for tensor in tensors]


def _economical(model: nn.Module, sized: Example, traced: Trace) -> Shadow | None:
    """A copy whose random matrices have the model's own precision, computed in double; None where that cannot be done.

    Nothing may write to a weight, and no two may share a storage: silent units are put to 0 as they are read.
    """
    parameters = list(model.parameters())
    plain = all(type(p) is nn.Parameter and p.layout is torch.strided and not p.is_complex() for p in parameters)
    if not plain:
        return None
    generator = torch.Generator().manual_seed(SEED)
    random = random_like(sized, generator).map(lambda t: t.to(_of(torch.float64, t)))
    network, doubled = _copied(model, _stored, generator), Doubled()
    before = _states(network)
    try:
        outputs = _run(network, random, traced, doubled)
    except Exception:  # noqa: BLE001 - the user's forward may not run so
        return None
    storages = {p.untyped_storage().data_ptr() for p in network.parameters()}
    if _states(network) != before or len(storages) != len(before) or _finite(outputs) is not True:
        return None
    return Shadow(network, random, 1e-7, outputs, frozenset(before), traced, doubled)


def _stored(tensor: Tensor) -> torch.dtype:
    """The precision of a tensor of such a copy. Convolutions refuse operands of two types before they are computed."""
    large = tensor.dim() == 2 and tensor.numel() >= MATRIX
    keeps = large and tensor.dtype is not torch.float16  # in which small gradients would vanish
    return tensor.dtype if keeps else _of(torch.float64, tensor)


def _prepared(model: nn.Module, sized: Example, example: Example, traced: Trace) -> Shadow:
    """A copy to experiment on, a random input like ``sized`` and a tolerance (relative to the largest output).

    Doubles with random weights where the model can run so; else its own precision, else its own weights. An output
    that is infinite in places (actions masked by -inf) will do where no run is finite throughout.

    Raises:
        UnsupportedModelError: The model's forward fails, or returns NaN or nothing finite.
    """
    generator = torch.Generator().manual_seed(SEED)
    random = random_like(sized, generator)
    own = next((t.dtype for t in model.parameters() if t.is_floating_point()), torch.float32)
    exact = 1e-4 if traced.casts else 1e-7
    loose = 1e-3 if own in (torch.float32, torch.float64) else 3e-2
    tries = [(torch.float64, exact, True), (torch.float64, exact, False), (own, loose, True), (own, loose, False)]
    failure: BaseException | None = None
    usable: Shadow | None = None
    for dtype, tolerance, shuffle in tries:
        network = _copied(model, partial(_of, dtype), generator if shuffle else None)
        for candidate in (random, example):  # the example itself where one sample alone does not do
            cast = candidate.map(lambda t, dtype=dtype: t.to(_of(dtype, t)))
            before = _states(network)
            try:
                outputs = _run(network, cast, traced)
            except UnsupportedModelError:
                raise
            except Exception as error:  # noqa: BLE001 - the user's forward may not run in this precision
                failure = error
                continue
            same = frozenset(name for name, state in _states(network).items() if before.get(name) == state)
            shadow = Shadow(network, cast, tolerance, outputs, same, traced)
            finite = _finite(outputs)
            if finite is True:
                return shadow
            usable = usable or (shadow if finite is None else None)
    if usable is None:
        raise UnsupportedModelError(_unusable(failure))
    return usable


def _copied(model: nn.Module, kind_of: Callable[[Tensor], torch.dtype], generator: torch.Generator | None) -> nn.Module:
    """A copy in evaluation mode and other precisions, with random weights where there is a generator.

    Its weights are never there in the model's own precision as well: for a while that would be another copy of them.
    """

    def twin(parameter: nn.Parameter) -> nn.Parameter:
        kind = kind_of(parameter)
        same = parameter.detach().to(kind, copy=True) if generator is None else torch.empty_like(parameter, dtype=kind)
        return nn.Parameter(same, parameter.requires_grad)

    plain = [p for p in model.parameters() if type(p) is nn.Parameter and p.layout is torch.strided]
    twins = {id(p): twin(p) for p in plain if p.is_floating_point() or p.is_complex()}
    network = isolated(model, twins).eval()
    network._apply(lambda tensor: tensor.to(kind_of(tensor)))  # type: ignore[no-untyped-call]
    if generator is not None:
        randomise(network, generator)
    return network


def _states(model: nn.Module) -> dict[str, tuple[int, float]]:
    """What shows that a parameter was written to: through ``.data`` it keeps its version."""

    def norm(parameter: torch.Tensor) -> float:
        inexact = parameter.is_floating_point() or parameter.is_complex()
        return float(torch.linalg.vector_norm(parameter, 1)) if inexact else 0.0

    return {name: (p._version, norm(p.detach())) for name, p in model.named_parameters()}


def _of(dtype: torch.dtype, tensor: torch.Tensor) -> torch.dtype:
    """The type that goes with this precision; ``Module.to(dtype)`` drops the imaginary part of complex parameters."""
    if tensor.is_complex():
        return dtype.to_complex() if dtype.itemsize > 2 else tensor.dtype  # there is hardly an operator for halves
    return dtype if tensor.is_floating_point() else tensor.dtype


def _run(model: nn.Module, example: Example, traced: Trace, doubled: Doubled | None = None) -> list[torch.Tensor]:
    with quiet(), steady_draws(traced), torch.no_grad(), doubled or nullcontext():
        return call(model, example)


def _finite(outputs: Sequence[torch.Tensor]) -> bool | None:
    """Whether all that a model returned is finite; None where some is infinite and some of each tensor is finite."""
    inexact = [t for t in outputs if t.is_floating_point() or t.is_complex()]
    if all(bool(t.isfinite().all()) for t in inexact):
        return True
    return None if all(bool(t.isfinite().any()) and not bool(t.isnan().any()) for t in inexact) else False


def _unusable(failure: BaseException | None) -> str:
    if failure is None:
        return "the model returns NaN, or nothing finite, for the example input; hand over a real sample"
    return f"the model's forward fails on random inputs and on the example: {raised(failure)}; hand over a real sample"
