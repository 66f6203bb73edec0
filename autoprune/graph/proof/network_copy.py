"""The copy of a model that a proof experiments on: double precision, random weights and statistics, random input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from autoprune.errors import UnsupportedModelError
from autoprune.graph.proof.draws import steady_draws
from autoprune.graph.trace.export import Trace
from autoprune.graph.trace.outputs import tensors_of
from autoprune.graph.trace.quiet import quiet
from autoprune.graph.trace.source_lines import raised
from autoprune.models.copying import isolated
from autoprune.models.inputs.example import Example
from autoprune.models.state import state_kept

__all__ = ["SEED", "Shadow", "Shadows", "call"]

SEED = 20180910


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
    """

    network: nn.Module
    example: Example
    tolerance: float
    outputs: list[torch.Tensor]
    read_only: frozenset[str]
    traced: Trace

    def resized(self, sized: Example) -> Shadow | None:
        """The same copy with a random input of another size; None where it fails or returns what is not finite."""
        dtype = next((t.dtype for t in self.network.parameters() if t.is_floating_point()), torch.float32)
        random = _random(sized, torch.Generator().manual_seed(SEED)).map(lambda t: t.to(_of(dtype, t)))
        try:
            outputs = _run(self.network, random, self.traced)
        except Exception:  # noqa: BLE001 - the user's forward may raise anything
            return None
        return replace(self, example=random, outputs=outputs) if _finite(outputs) is True else None


class Shadows:
    """Copies of one model, each made at its first use.

    Args:
        model: The dense model; not changed.
        example: An example input.
        traced: The model's trace.
    """

    def __init__(self, model: nn.Module, example: Example, traced: Trace) -> None:
        self._model, self._example, self._traced = model, example, traced
        self._made: dict[int, Shadow] = {}

    def __call__(self, as_traced: bool) -> Shadow:
        """One for inputs with as many samples as the trace has, or for one sample.

        Raises:
            UnsupportedModelError: The model's forward fails, or returns NaN or nothing finite.
        """
        batch = self._traced.batch if as_traced else 1
        if batch not in self._made:
            self._made.clear()  # one at a time: each is twice as large as a model of single precision
            self._made[batch] = _prepared(self._model, self._example.with_batch(batch), self._example, self._traced)
        return self._made[batch]


def call(model: nn.Module, example: Example, *, with_history: bool = False) -> list[torch.Tensor]:
    """The tensors of the model's output for the example, under one seed and from the state that the model is in.

    To be called inside ``quiet()``, which restores the random state; what the forward keeps is undone here.
    """
    torch.manual_seed(SEED)
    with state_kept(model):
        tensors = tensors_of(example.run(model))
        return tensors if with_history else [tensor.detach() for tensor in tensors]


def _prepared(model: nn.Module, sized: Example, example: Example, traced: Trace) -> Shadow:
    """A copy to experiment on, a random input like ``sized`` and a tolerance (relative to the largest output).

    Doubles with random weights where the model can run so; else its own precision, else its own weights. An output
    that is infinite in places (actions masked by -inf) will do where no run is finite throughout.

    Raises:
        UnsupportedModelError: The model's forward fails, or returns NaN or nothing finite.
    """
    generator = torch.Generator().manual_seed(SEED)
    random = _random(sized, generator)
    own = next((t.dtype for t in model.parameters() if t.is_floating_point()), torch.float32)
    exact = 1e-4 if traced.casts else 1e-7
    loose = 1e-3 if own in (torch.float32, torch.float64) else 3e-2
    tries = [(torch.float64, exact, True), (torch.float64, exact, False), (own, loose, True), (own, loose, False)]
    failure: BaseException | None = None
    usable: Shadow | None = None
    for dtype, tolerance, shuffle in tries:
        network = _copied(model, dtype, generator if shuffle else None)
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


def _copied(model: nn.Module, dtype: torch.dtype, generator: torch.Generator | None) -> nn.Module:
    """A copy in evaluation mode and another precision, with random weights where there is a generator.

    Its weights are never there in the model's own precision: for a while that would be another copy of them.
    """

    def twin(parameter: nn.Parameter) -> nn.Parameter:
        kind = _of(dtype, parameter)
        same = parameter.detach().to(kind, copy=True) if generator is None else torch.empty_like(parameter, dtype=kind)
        return nn.Parameter(same, parameter.requires_grad)

    plain = [p for p in model.parameters() if type(p) is nn.Parameter and p.layout is torch.strided]
    twins = {id(p): twin(p) for p in plain if p.is_floating_point() or p.is_complex()}
    network = in_precision(isolated(model, twins).eval(), dtype)
    if generator is not None:
        _randomise(network, generator)
    return network


def _states(model: nn.Module) -> dict[str, tuple[int, float]]:
    """What shows that a parameter was written to: through ``.data`` it keeps its version."""

    def norm(parameter: torch.Tensor) -> float:
        inexact = parameter.is_floating_point() or parameter.is_complex()
        return float(torch.linalg.vector_norm(parameter, 1)) if inexact else 0.0

    return {name: (p._version, norm(p.detach())) for name, p in model.named_parameters()}


def _random(sized: Example, generator: torch.Generator) -> Example:
    """An input like ``sized``; what is no floating-point number stays."""

    def drawn(tensor: torch.Tensor) -> torch.Tensor:
        if not (tensor.is_floating_point() or tensor.is_complex()):
            return tensor
        kind = torch.complex64 if tensor.is_complex() else torch.float32
        return torch.randn(tensor.shape, generator=generator, dtype=kind).to(tensor.device, tensor.dtype)

    return sized.map(drawn)


def in_precision(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model with its floating-point numbers in this precision, complex ones in the complex type that goes with it.

    ``Module.to(dtype)`` drops the imaginary part of complex parameters.
    """
    model._apply(lambda tensor: tensor.to(_of(dtype, tensor)))  # type: ignore[no-untyped-call]
    return model


def _of(dtype: torch.dtype, tensor: torch.Tensor) -> torch.dtype:
    if tensor.is_complex():
        return dtype.to_complex() if dtype.itemsize > 2 else tensor.dtype  # there is hardly an operator for halves
    return dtype if tensor.is_floating_point() else tensor.dtype


def _run(model: nn.Module, example: Example, traced: Trace) -> list[torch.Tensor]:
    with quiet(), steady_draws(traced), torch.no_grad():
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


def _randomise(model: nn.Module, generator: torch.Generator) -> None:
    """Random weights that keep the size of activations, and random statistics: every f(0) is different from 0."""
    variances = {f"{name}.running_var".lstrip(".") for name, m in model.named_modules() if hasattr(m, "running_var")}
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            leaf = name.rpartition(".")[2]
            is_buffer = not isinstance(tensor, nn.Parameter)
            inexact = tensor.is_floating_point() or tensor.is_complex()
            if not inexact or (is_buffer and not leaf.startswith("running_")):
                continue
            tensor.copy_(_drawn(tensor, leaf, name in variances, generator))


def _drawn(tensor: torch.Tensor, leaf: str, is_variance: bool, generator: torch.Generator) -> torch.Tensor:
    """Random numbers for a parameter, of single precision: copies of them take half the memory of doubles."""
    if is_variance or (tensor.dim() < 2 and "bias" not in leaf and "mean" not in leaf):
        return torch.rand(tensor.shape, generator=generator) + 0.5
    kind = torch.complex64 if tensor.is_complex() else torch.float32
    normal = torch.randn(tensor.shape, generator=generator, dtype=kind)
    return normal.mul_(0.3 if tensor.dim() < 2 else math.sqrt(2.0 / max(1, tensor[0].numel())))
