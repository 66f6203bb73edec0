"""Every decision of a model, in forward order: plain values, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.errors import InputError
from autoprune.foundations.files import shortened
from autoprune.foundations.names import nearest_name
from autoprune.space.decision import Decision
from autoprune.space.kinds import CHANNELS, STRUCTURED
from autoprune.space.policy import Policy, TechniquePart

__all__ = ["SearchSpace"]


@dataclass(frozen=True)
class SearchSpace:
    """Every decision of a model, in forward order.

    Attributes:
        decisions: What may change.
        frozen: Module name -> why it may not.
        model: The model's name and fingerprint, carried into every policy.
        ties: Decision that covers several groups -> {group: its units for one unit of the decision}. Policies
            name the groups, so that they can be applied without knowing of ties.
    """

    decisions: tuple[Decision, ...]
    frozen: Mapping[str, str] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    ties: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.decisions):
            raise InputError("a search space needs decisions of different names")
        lost = next((name for name, groups in self.ties.items() if name not in self.names or name not in groups), None)
        if lost is not None:
            raise InputError(f"the tie {lost!r} is not named after a decision and one of its groups")
        blocks = {decision.name for decision in self.decisions if decision.traits.gates}
        for decision in self.decisions:
            for name in (name for place in decision.within for name in place):
                if name not in blocks:
                    raise InputError(f"decision {decision.name!r} lies within {name!r}, which is no block decision")

    def __len__(self) -> int:
        return len(self.decisions)

    @property
    def names(self) -> tuple[str, ...]:
        """The decisions' names, in forward order."""
        return tuple(decision.name for decision in self.decisions)

    def __getitem__(self, name: str) -> Decision:
        for decision in self.decisions:
            if decision.name == name:
                return decision
        raise InputError(f"no decision is named {name!r}; {nearest_name(name, self.names)}")

    @property
    def dense(self) -> dict[str, int]:
        """The choices that change nothing."""
        return {decision.name: decision.width for decision in self.decisions}

    def complete(self, choices: Mapping[str, int]) -> dict[str, int]:
        """Checked choices for every decision, in canonical form; decisions that are not named stay dense.

        Args:
            choices: Kept units by decision; where decisions are tied, also by group as a policy names them.

        Raises:
            InputError: If a name is unknown, a value is no whole number of units, a width is not among its
                decision's options, or tied groups keep different shares.
        """
        full = self.dense
        for name, units in self._tied(choices).items():
            decision = self[name]
            if not _is_whole(units):
                raise InputError(f"decision {name!r}: {shortened(repr(units))} is not a whole number of units")
            if units not in decision.options:
                raise InputError(
                    f"decision {name!r} cannot keep {units} of {decision.width} units;"
                    f" the nearest option is {decision.nearest(units)}"
                )
            full[name] = int(units)
        return self.canonical(full)

    def units(self, choices: Mapping[str, int]) -> dict[str, int]:
        """Kept units of every coupled group and block: what a network is cut by."""
        return self.by_technique(choices).get(STRUCTURED, {})

    def by_technique(self, choices: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """Choices for every decision, apart by the technique that carries them out; those on tied groups by group."""
        parts: dict[str, dict[str, int]] = {}
        for name, kept in self.complete(choices).items():
            steps = self.ties.get(name, {name: 1})
            part = parts.setdefault(self[name].traits.technique, {})
            part |= {group: each * kept for group, each in steps.items()}
        return parts

    def _tied(self, choices: Mapping[str, int]) -> Mapping[str, int]:
        """Choices by decision, where some are named by tied groups; a decision's own name alone counts its units."""
        if not self.ties:
            return choices
        rest = dict(choices)
        for name, groups in self.ties.items():
            if not any(group in rest for group in groups if group != name):
                continue
            width = self[name].width
            kept = {group: rest.pop(group, each * width) for group, each in groups.items()}
            shares = {units / groups[group] if _is_whole(units) else None for group, units in kept.items()}
            if len(shares) > 1 or None in shares:
                named = shortened(", ".join(f"{group} {units}" for group, units in kept.items()), 200)
                raise InputError(f"decisions that are tied keep one share of their units, not: {named}")
            rest[name] = shares.pop()  # type: ignore[assignment]  # a fraction is refused with its options
        return rest

    def canonical(self, choices: Mapping[str, int]) -> dict[str, int]:
        """The same network under its one name: decisions inside of dropped blocks are recorded as dense.

        Args:
            choices: Kept units of some or all decisions; blocks that are not named are kept.
        """
        full = dict(choices)
        for decision in self._inner:
            if decision.name in full and not decision.matters(choices):
                full[decision.name] = decision.width
        return full

    @cached_property
    def _inner(self) -> tuple[Decision, ...]:
        """The decisions that dropped blocks make irrelevant."""
        return tuple(decision for decision in self.decisions if decision.within)

    def indices(self, choices: Mapping[str, int]) -> NDArray[np.int64]:
        """Option numbers of a full set of choices in canonical form, shape (decisions,)."""
        full = self.complete(choices)
        return np.array([d.options.index(full[d.name]) for d in self.decisions], dtype=np.int64)

    def choices(self, indices: Iterable[int]) -> dict[str, int]:
        """Kept units by name from option numbers, in canonical form; the inverse of `indices`."""
        return self.canonical({d.name: d.options[int(i)] for d, i in zip(self.decisions, indices, strict=True)})

    def policy(self, choices: Mapping[str, int], **fields: Any) -> Policy:
        """A policy that keeps the named numbers of units and leaves every other decision dense."""
        kinds = {group: d.traits for d in self.decisions for group in self.ties.get(d.name, [d.name])}
        parts = {
            technique: TechniquePart(
                technique=technique,
                stage=kinds[next(iter(part))].stage,
                choices=part,
                kinds={name: kinds[name].name for name in part if kinds[name].name != CHANNELS},
            )
            for technique, part in self.by_technique(choices).items()
        }
        own = parts.pop(STRUCTURED, None)
        further = tuple(sorted(parts.values(), key=lambda part: part.stage))
        units, named = ({}, {}) if own is None else (own.choices, own.kinds)
        return Policy(choices=units, kinds=named, further=further, model=dict(self.model), **fields)

    def uniform(self, keep: float) -> Policy:
        """The policy that keeps one share of every decision's units, rounded to the nearest option, and all blocks.

        Args:
            keep: Share of units kept, in (0, 1].
        """
        if not 0 < keep <= 1:
            raise InputError(f"the share of units to keep must lie in (0, 1], not {keep}")
        return self.policy({d.name: d.at(keep) for d in self.decisions}, agent="uniform")

    def random(self, seed: int) -> Policy:
        """A policy whose every choice is drawn uniformly from the decision's options."""
        draw = np.random.default_rng(seed)
        return self.policy({d.name: int(draw.choice(d.options)) for d in self.decisions}, agent="random", seed=seed)


def _is_whole(units: object) -> bool:
    """Whether a value is a whole number of Python's or NumPy's; True is one to Python, but not to people."""
    number = isinstance(units, int | float | np.integer | np.floating) and not isinstance(units, bool)
    return number and float(units).is_integer()  # type: ignore[arg-type]  # a number, as just asked
