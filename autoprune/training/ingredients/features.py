"""Distillation of features: a cut network learns what the dense one's blocks give, not its outputs alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.foundations.user_code import UserCode, path_of
from autoprune.models.inputs.example import Example
from autoprune.models.modes import in_mode
from autoprune.models.precision import device_of

__all__ = ["FeatureDistillation", "Match", "matches"]


@dataclass(frozen=True)
class Match:
    """A module whose output both networks have, of shapes that differ in the channels at most.

    Attributes:
        module: Qualified name.
        dim: The dimension of the channels; counts only where the widths differ.
        student: Channels of the cut network.
        teacher: Channels of the dense network.
    """

    module: str
    dim: int
    student: int
    teacher: int


def matches(student: nn.Module, teacher: nn.Module, example: Example) -> tuple[Match, ...]:
    """The outputs to distil: of the modules with modules inside, the last of each shape in the dense network.

    In a residual network these are the last blocks of the stages. Without any such module the layers themselves serve.

    Args:
        student: The cut network.
        teacher: The dense one.
        example: A call of either, (1, ...).
    """
    own, theirs = _shapes(student, example), _shapes(teacher, example)
    found = {name: match for name in theirs if name in own and (match := _match(name, own[name], theirs[name]))}
    blocks = {name for name, module in teacher.named_modules() if name in found and any(module.children())}
    last = {theirs[name]: found[name] for name in found if not blocks or name in blocks}
    return tuple(last.values())


def _match(name: str, student: torch.Size, teacher: torch.Size) -> Match | None:
    """How two outputs belong together; None for vectors, which the last layer learns, and for other differences."""
    if len(student) != len(teacher) or len(teacher) < 3:
        return None
    differ = [dim for dim in range(len(teacher)) if student[dim] != teacher[dim]]
    if differ == [0] or len(differ) > 1:
        return None
    dim = differ[0] if differ else 1
    return Match(name, dim, student[dim], teacher[dim])


def _shapes(model: nn.Module, example: Example) -> dict[str, torch.Size]:
    """Shapes of the tensors that modules give, in the order of their calls; modules that run once."""
    found: dict[str, list[Any]] = {}
    inner = {name: module for name, module in model.named_modules() if name}
    home = device_of(model)
    with (
        _watched(inner, lambda name, output: found.setdefault(name, []).append(output)),
        in_mode(model),
        torch.no_grad(),
        UserCode(f"the network {path_of(model)}"),
    ):
        example.map(lambda tensor: tensor.to(home)).run(model)
    single = {name: outputs[0] for name, outputs in found.items() if len(outputs) == 1}
    return {
        name: output.shape
        for name, output in single.items()
        if isinstance(output, Tensor) and output.is_floating_point()
    }


@contextmanager
def _watched(modules: Mapping[str, nn.Module], see: Any) -> Iterator[None]:
    """`see(name, output)` after every call of these modules."""
    hooks = [m.register_forward_hook(lambda _, __, out, name=name: see(name, out)) for name, m in modules.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class FeatureDistillation:
    """The mean over modules of |s - t|^2 / (|s|^2 + |t|^2) on a batch: s the student's output, t the teacher's.

    Where the widths differ, a linear 1x1 adapter without bias takes the student's channels to the teacher's (Romero et
    al., FitNets, ICLR 2015). Adapters are trained along with the student, by its optimiser, and dropped with this
    object. The distance is 0 where both are equal and 1 where one of them is 0, so blocks of any scale count
    alike, and no scale of the student's makes a step diverge, as it does with the squared error alone.

    Args:
        student: The network in training.
        teacher: Evaluated on the same batches; left unchanged.
        found: What `matches` gave.
        seed: Of the adapters' first weights.

    Attributes:
        adapters: A weight (teacher's channels, student's channels) for each match whose widths differ.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, found: tuple[Match, ...], seed: int) -> None:
        self.found = found
        self._modules = {"student": _inside(student, found), "teacher": _inside(teacher, found)}
        self._seen: dict[str, dict[str, Tensor]] = {"student": {}, "teacher": {}}
        draw, home = torch.Generator().manual_seed(seed), device_of(student)
        self.adapters = nn.ParameterList()
        self._adapter: dict[str, nn.Parameter] = {}
        for match in found:
            if match.student != match.teacher:
                weight = torch.randn(match.teacher, match.student, generator=draw) / match.student**0.5
                self._adapter[match.module] = nn.Parameter(weight.to(home))
                self.adapters.append(self._adapter[match.module])

    @contextmanager
    def watching(self, which: str) -> Iterator[None]:
        """Keep the features of the forwards inside.

        Args:
            which: `student` or `teacher`.
        """
        with _watched(self._modules[which], self._seen[which].__setitem__):
            yield

    def distance(self) -> Tensor:
        """Of the last batch that both networks have seen; forgets its features."""
        student, teacher = self._seen["student"], self._seen["teacher"]
        distances = [self._distance(m, student.pop(m.module), teacher.pop(m.module)) for m in self.found]
        return torch.stack(distances).mean()

    def _distance(self, match: Match, student: Tensor, teacher: Tensor) -> Tensor:
        own, goal = student.float(), teacher.detach().float()
        if match.module in self._adapter:
            own = F.linear(own.movedim(match.dim, -1), self._adapter[match.module]).movedim(-1, match.dim)
        scale = own.square().mean() + goal.square().mean()
        return F.mse_loss(own, goal) / scale.clamp_min(torch.finfo(goal.dtype).tiny)


def _inside(model: nn.Module, found: tuple[Match, ...]) -> dict[str, nn.Module]:
    return {match.module: model.get_submodule(match.module) for match in found}
