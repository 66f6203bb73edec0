"""What may change in a network, and one way of changing it: plain values, without torch.

A `Decision` is one coupled group of units (channels that must be removed together), a `SearchSpace` is every
decision of a model in forward order, a `Policy` is a choice for every decision.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from autoprune.errors import InputError
from autoprune.foundations.files import read_json, shortened, write_text
from autoprune.foundations.names import nearest_name

__all__ = ["BLOCK", "CHANNELS", "KINDS", "POLICY_SCHEMA", "Decision", "Policy", "SearchSpace", "checked_kinds"]

POLICY_SCHEMA = "autoprune.policy/1"

CHANNELS = "channels"
BLOCK = "block"
KINDS = (CHANNELS, "heads", "head_size", "ffn", "embedding", BLOCK)
"""What a decision may be about: a width, counted in units of some kind, or whether a residual branch is there."""


def checked_kinds(kinds: Iterable[str] | None) -> tuple[str, ...]:
    """The kinds of decisions that a space has; every width if not said.

    >>> checked_kinds(None)
    ('channels', 'heads', 'head_size', 'ffn', 'embedding')

    Raises:
        InputError: If there is none, or one is unknown.
    """
    chosen = tuple(kind for kind in KINDS if kind != BLOCK) if kinds is None else tuple(kinds)
    unknown = next((kind for kind in chosen if kind not in KINDS), None)
    if unknown is not None:
        raise InputError(f"unknown kind of decision {shortened(repr(unknown))}; {nearest_name(unknown, KINDS)}")
    if not chosen:
        raise InputError(f"a search space needs a kind of decisions; known: {', '.join(KINDS)}")
    return chosen


@dataclass(frozen=True)
class Decision:
    """One coupled group of units that a policy may shrink.

    Attributes:
        name: Qualified module name of the group's first producer; stable across sessions.
        width: Units of the dense network.
        options: Allowed numbers of kept units, ascending; the last is `width`. A block may keep none.
        kind: What a unit is: `channels`, `heads`, `ffn`, ..., or `block`: a whole residual branch, of width 1.
        within: For each place where the units stand, the `block` decisions around it. The width matters while one
            place has all of its blocks; without any place, always.
    """

    name: str
    width: int
    options: tuple[int, ...]
    kind: str = "channels"
    within: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        least = 0 if self.is_block else 1
        ordered = all(a < b for a, b in itertools.pairwise(self.options))
        if not self.options or self.options[0] < least or self.options[-1] != self.width or not ordered:
            raise InputError(
                f"decision {self.name!r}: options {self.options} must ascend from {least} or more to {self.width}"
            )
        if self.is_block and self.width != 1:
            raise InputError(f"decision {self.name!r}: a block is there or not; it has no {self.width} units")

    @property
    def is_block(self) -> bool:
        """Whether a whole residual branch is kept or dropped."""
        return self.kind == BLOCK

    def matters(self, choices: Mapping[str, int]) -> bool:
        """Whether this decision changes anything: not behind dropped blocks; blocks that are not named are kept."""
        return not self.within or any(all(choices.get(name, 1) for name in place) for place in self.within)

    def nearest(self, units: float) -> int:
        """The option with the number of kept units nearest to `units`; the larger one on a tie."""
        return min(self.options, key=lambda option: (abs(option - units), -option))

    def at(self, keep: float) -> int:
        """The option nearest to a share of the units, as a uniform policy has it: blocks stay."""
        return self.width if self.is_block else self.nearest(keep * self.width)


@dataclass(frozen=True)
class SearchSpace:
    """Every decision of a model, in forward order.

    Attributes:
        decisions: What may change.
        frozen: Module name -> why it may not.
        model: The model's name and fingerprint, carried into every policy.
        ties: Decision that stands for several groups -> {group: its units for one unit of the decision}. Policies
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
        blocks = {decision.name for decision in self.decisions if decision.is_block}
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
            choices: Kept units by decision; where decisions are tied, also by group as `units` gives them.

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
        """Kept units of every coupled group and block: what a network is cut by, and what a policy names."""
        full = self.complete(choices)
        if not self.ties:
            return full
        units: dict[str, int] = {}
        for name, kept in full.items():
            units |= {group: each * kept for group, each in self.ties.get(name, {name: 1}).items()}
        return units

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
                told = shortened(", ".join(f"{group} {units}" for group, units in kept.items()), 200)
                raise InputError(f"decisions that are tied keep one share of their units, not: {told}")
            rest[name] = shares.pop()  # type: ignore[assignment]  # a fraction is refused with its options
        return rest

    def canonical(self, choices: Mapping[str, int]) -> dict[str, int]:
        """The same network under its one name: what stands inside of dropped blocks is recorded as dense.

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
        full = self.units(choices)
        kinds = {
            group: d.kind for d in self.decisions if d.kind != CHANNELS for group in self.ties.get(d.name, [d.name])
        }
        return Policy(choices=full, kinds=kinds, model=dict(self.model), **fields)

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


class Policy(BaseModel):
    """Choices for the decisions of one model, where they came from and what they do; a plain JSON file.

    With the dense weights it rebuilds the raw cut bit for bit, since `kept` names the units.

    A decision of the kind `block` keeps 1 (the residual branch stays) or 0 (it is dropped, and `kept` names no unit
    of it). Widths inside of a dropped block change nothing; they are recorded as dense, so that equal networks have
    equal policies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    schema_: Literal["autoprune.policy/1"] = Field(default="autoprune.policy/1", alias="schema")
    model: dict[str, Any] = Field(default_factory=dict, description="name and fingerprint of the model it was made for")
    technique: Literal["channels"] = "channels"
    choices: dict[str, int] = Field(description="decision -> kept units")
    kinds: dict[str, str] = Field(
        default_factory=dict, description="decision -> what its units are, where these are no channels"
    )
    kept: dict[str, list[int]] | None = Field(
        default=None, description="decision -> indices of the kept units, ascending"
    )
    criterion: str | None = None
    budget: dict[str, Any] | None = None
    predicted: dict[str, float] = Field(default_factory=dict)
    measured: dict[str, float] = Field(default_factory=dict)
    agent: str | None = None
    seed: int | None = None

    @model_validator(mode="after")
    def _positive(self) -> Policy:
        for name, units in self.choices.items():
            block = self.kinds.get(name) == BLOCK
            if units < 1 and not (block and units == 0):
                raise ValueError(f"decision {name!r} keeps {units} units; at least one must stay")
            if block and units > 1:
                raise ValueError(f"decision {name!r} is a block: it keeps 1 or 0, not {units}")
        stray = next((name for name in self.kinds if name not in self.choices), None)
        if stray is not None:
            raise ValueError(f"'kinds' names {shortened(repr(stray))}, which 'choices' does not")
        return self

    @model_validator(mode="after")
    def _kept_fits(self) -> Policy:
        for name, indices in (self.kept or {}).items():
            if len(indices) != self.choices.get(name):
                raise ValueError(f"'kept' names {len(indices)} units of {name!r}, 'choices' {self.choices.get(name)}")
            if any(a >= b for a, b in itertools.pairwise(indices)) or (indices and indices[0] < 0):
                raise ValueError(f"'kept' of {name!r} must be ascending, without repeats, from 0 up")
        if self.kept is not None and self.kept.keys() != self.choices.keys():
            raise ValueError("'kept' and 'choices' name different decisions")
        return self

    def to_json(self) -> str:
        """The policy as it stands in its file."""
        return json.dumps(self.model_dump(by_alias=True, mode="json"), indent=1) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the policy to `path`, replacing it atomically."""
        write_text(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read a policy.

        Raises:
            InputError: If the file cannot be read or is not a policy.
        """
        content = read_json(path, "policy")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InputError(f"{path} is not a policy: {first_fault(error)}") from error


def _is_whole(units: object) -> bool:
    """Whether a value is a whole number of Python's or NumPy's; True is one to Python, but not to people."""
    number = isinstance(units, int | float | np.integer | np.floating) and not isinstance(units, bool)
    return number and float(units).is_integer()  # type: ignore[arg-type]  # a number, as just asked


def first_fault(error: ValidationError) -> str:
    """The first fault of a failed validation in one line: where it is and what is wrong there."""
    fault = error.errors(include_url=False, include_context=False)[0]
    where = shortened(".".join(str(part) for part in fault["loc"]))
    message = shortened(str(fault["msg"]), 300)
    return f"{where}: {message}" if where else message
