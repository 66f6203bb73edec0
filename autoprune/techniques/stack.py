"""Several techniques on one network: applied in the order of their stages, each to what the one before gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from autoprune.cost.effects import Effect
from autoprune.errors import PolicyMismatchError
from autoprune.graph import Analysis, index_map
from autoprune.hardware import Target
from autoprune.space import STRUCTURED, Policy, SearchSpace, TechniquePart
from autoprune.techniques.base import Calibration, Technique
from autoprune.training.constraint import Together, TrainingConstraint

__all__ = ["Stack", "StackCandidates"]


@dataclass(frozen=True)
class Stack:
    """The techniques of a run, and what they learned from the dense network.

    Attributes:
        techniques: In the order of their stages.
        analysis: Of the dense network.
        space: The decisions of all of them.
        fitted: What each learned, by name; empty before `fit`.
    """

    techniques: tuple[Technique[Any], ...]
    analysis: Analysis
    space: SearchSpace
    fitted: Mapping[str, Any] = field(default_factory=dict)

    def fit(self, model: nn.Module, calibration: Calibration) -> Stack:
        """The same stack, every technique fitted to the trained dense network."""
        return replace(self, fitted={t.name: t.fit(model, self.analysis, calibration) for t in self.techniques})

    def with_fitted(self, name: str, fitted: Any) -> Stack:
        """The same stack with other knowledge of one technique."""
        return replace(self, fitted={**self.fitted, name: fitted})

    def policy(self, choices: Mapping[str, int], **fields: Any) -> Policy:
        """A policy that can be applied to the dense weights without this stack."""
        bare = self.space.policy(choices, **fields)
        parts = [part for _, part in self.recorded({part.technique: part for part in self._active(bare)})]
        own = {part.technique: part for part in parts}.get(STRUCTURED)
        further = tuple(part for part in parts if part.technique != STRUCTURED)
        return bare.model_copy(update={"kept": None if own is None else own.kept, "further": further})

    def apply(self, model: nn.Module, choices: Mapping[str, int]) -> nn.Module:
        """The network that a policy makes of the dense one, not trained; `model` stays as it is."""
        return applied(model, self.analysis, self._recorded(choices))

    def candidates(self, model: nn.Module) -> StackCandidates:
        """Networks of one policy after the other, for a search."""
        return StackCandidates(self, model)

    @property
    def effects(self) -> dict[str, Effect]:
        """Graph node -> what its price is changed by; those of several techniques together."""
        found: dict[str, Effect] = {}
        for technique in self.techniques:
            for node, effect in technique.effects(self.analysis).items():
                known = found.get(node)
                if known is None or not self._decides(known):
                    found[node] = effect
                elif self._decides(effect):
                    found[node] = known.and_then(effect)
        return found

    def _decides(self, effect: Effect) -> bool:
        return set(effect.scope) <= set(self.space.names)

    def settled(self, choices: Mapping[str, int]) -> dict[str, int]:
        """Choices as they are carried out; see `Technique.settled`."""
        full = self.space.complete(choices)
        for technique in self.techniques:
            own = {d.name: full[d.name] for d in self.space.decisions if d.traits.technique == technique.name}
            full |= technique.settled(self.analysis, own)
        return full

    def constraint(self, model: nn.Module, choices: Mapping[str, int]) -> TrainingConstraint | None:
        """What training must keep of a network that `apply` gave."""
        found = [technique.constraint(model, part) for technique, part in self._recorded(choices)]
        kept = [constraint for constraint in found if constraint is not None]
        return Together(kept) if kept else None

    def slices(self, choices: Mapping[str, int]) -> dict[str, list[tuple[int, Tensor]]]:
        """Tensor name -> [(dimension, kept positions)] of the network that `apply` gives."""
        part = {t.name: part for t, part in self._recorded(choices)}.get(STRUCTURED)
        return {} if part is None else self._slices(part)

    def _slices(self, part: TechniquePart) -> dict[str, list[tuple[int, Tensor]]]:
        kept = part.kept or {name: list(range(units)) for name, units in part.choices.items()}
        return index_map(self.analysis, kept)

    def deploy(self, model: nn.Module, choices: Mapping[str, int], target: Target | None = None) -> nn.Module:
        """The network as it is handed over."""
        for technique, part in self._recorded(choices):
            model = technique.deploy(model, self.analysis, part, target)
        return model

    def bare(self, choices: Mapping[str, int]) -> dict[str, TechniquePart]:
        """What each technique is to do, by name, not yet recorded."""
        return {part.technique: part for part in self._active(self.space.policy(choices))}

    def _active(self, policy: Policy) -> list[TechniquePart]:
        """The parts of the stack's own techniques; a stack without widths has no structured part."""
        names = {technique.name for technique in self.techniques}
        return [part for part in policy.parts if part.technique in names]

    def _recorded(self, choices: Mapping[str, int]) -> list[tuple[Technique[Any], TechniquePart]]:
        return self.recorded(self.bare(choices))

    def recorded(self, parts: Mapping[str, TechniquePart]) -> list[tuple[Technique[Any], TechniquePart]]:
        """What each technique is to do, with all that `apply` needs, in the order of their stages.

        Args:
            parts: By technique, not yet recorded.
        """
        steps: list[tuple[Technique[Any], TechniquePart]] = []
        slices: Mapping[str, Sequence[tuple[int, Tensor]]] = {}
        for technique in self.techniques:
            if technique.name not in parts:
                continue
            fitted = self.fitted.get(technique.name)
            if fitted is not None and slices:
                fitted = technique.follow(fitted, slices)
            steps.append((technique, technique.record(parts[technique.name], fitted)))
            if technique.name == STRUCTURED and technique is not self.techniques[-1]:
                slices = self._slices(steps[-1][1])
        return steps


class StackCandidates:
    """The networks of a search: the first technique's fast path, then the other techniques on what it gives."""

    def __init__(self, stack: Stack, model: nn.Module) -> None:
        self._stack, self._model = stack, model
        first = stack.techniques[0]
        self._first = first.candidates(model, stack.analysis, stack.fitted.get(first.name))

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process the fast path is built anew: it is made of closures and of views of the weights."""
        return StackCandidates, (self._stack, self._model)

    def select(self, choices: Mapping[str, int]) -> nn.Module:
        """The network that keeps so much of every decision."""
        stack, parts = self._stack, self._stack.bare(choices)
        first = stack.techniques[0]
        network = self._first.select(parts[first.name]) if first.name in parts else self._model
        if len(stack.techniques) > 1:
            for technique, part in stack.recorded(parts):
                if technique is not first:
                    network = technique.apply(network, stack.analysis, part)
        return network

    def slices(self, choices: Mapping[str, int]) -> dict[str, list[tuple[int, Tensor]]]:
        """Where the tensors of `select(choices)` come from in the dense ones."""
        return self._stack.slices(choices)


def applied(model: nn.Module, analysis: Analysis, steps: Sequence[tuple[Technique[Any], TechniquePart]]) -> nn.Module:
    """What some techniques make of a network, one after the other.

    Raises:
        PolicyMismatchError: If a technique is applied at another stage than the policy says.
    """
    for technique, part in steps:
        if technique.stage != part.stage:
            raise PolicyMismatchError(
                f"the policy applies {technique.name!r} at the stage {part.stage.name.lower()},"
                f" which works at {technique.stage.name.lower()}"
            )
        technique.check(analysis, part)
        model = technique.apply(model, analysis, part)
    return model
