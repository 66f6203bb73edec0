"""One way of changing a model: what every technique does to it, and where that came from; a plain JSON file.

While only widths and branches are changed the file has the schema `autoprune.policy/1`, which names one technique.
With any other technique it is `autoprune.policy/2`, whose `techniques` lists, in the order in which they are applied,
what each of them does. Both are read.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from autoprune.errors import InputError
from autoprune.foundations.files import read_json, shortened, write_text
from autoprune.space.kinds import CHANNELS, STRUCTURED, Stage, kind_of
from autoprune.space.mask_file import masks_beside, masks_read, without_others

__all__ = ["MANY_SCHEMA", "POLICY_SCHEMA", "Policy", "TechniquePart", "first_fault"]

POLICY_SCHEMA = "autoprune.policy/1"
MANY_SCHEMA = "autoprune.policy/2"
"""The schema of a policy with more techniques than the structured one."""

_ONLY_IN_ONE = ("technique", "choices", "units", "kinds", "kept", "further")  # keys that schema 2 says in `techniques`

Kept = Mapping[str, list[int]]


def _check_choices(choices: Mapping[str, int], kinds: Mapping[str, str]) -> None:
    for name, units in choices.items():
        kind = kind_of(kinds.get(name, CHANNELS))
        if units < kind.least:
            raise ValueError(f"decision {name!r} keeps {units} units; at least one must stay")
        if kind.width is not None and units > kind.width:
            raise ValueError(f"decision {name!r} ({kind.noun}) keeps 1 or 0, not {units}")
    stray = next((name for name in kinds if name not in choices), None)
    if stray is not None:
        raise ValueError(f"'kinds' names {shortened(repr(stray))}, which 'choices' does not")


def _check_kept(choices: Mapping[str, int], kept: Kept | None) -> None:
    for name, indices in (kept or {}).items():
        if len(indices) != choices.get(name):
            raise ValueError(f"'kept' names {len(indices)} units of {name!r}, 'choices' {choices.get(name)}")
        if any(a >= b for a, b in itertools.pairwise(indices)) or (indices and indices[0] < 0):
            raise ValueError(f"'kept' of {name!r} must be ascending, without repeats, from 0 up")
    if kept is not None and kept.keys() != choices.keys():
        raise ValueError("'kept' and 'choices' name different decisions")


class TechniquePart(BaseModel):
    """What one technique does in a policy: everything that it needs to do it again to the same dense weights.

    Attributes:
        technique: Its name in the registry of techniques.
        stage: When it is applied.
        choices: Kept units by decision, by coupled group where decisions are tied.
        kinds: What each decision is about.
        kept: Which units are kept, where the technique says so.
        payload: What it needs beside, as JSON values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    technique: str = Field(min_length=1, max_length=100)
    stage: Stage
    choices: dict[str, int]
    kinds: dict[str, str] = Field(default_factory=dict)
    kept: dict[str, list[int]] | None = None
    payload: dict[str, Any] = Field(default_factory=dict)

    @field_validator("stage", mode="before")
    @classmethod
    def _stage_of_a_name(cls, value: Any) -> Any:
        names = [stage.name.lower() for stage in Stage]
        if isinstance(value, Stage):
            return value
        if value not in names:
            raise ValueError(f"should be one of {', '.join(names)}")
        return Stage[value.upper()]

    @model_validator(mode="after")
    def _consistent(self) -> TechniquePart:
        _check_choices(self.choices, self.kinds)
        _check_kept(self.choices, self.kept)
        return self

    def to_json(self) -> dict[str, Any]:
        """The part as its policy's file has it."""
        return self.model_dump(mode="json") | {"stage": self.stage.name.lower()}


class Policy(BaseModel):
    """Choices for the decisions of one model, where they came from and what they do; a plain JSON file.

    With the dense weights it rebuilds the network bit for bit, since `kept` names the units. Where `orders` are given,
    the dense network's units are put into them first, and all else is about the network in that order.

    A decision of the kind `block` keeps 1 (the residual branch stays) or 0 (it is dropped, and `kept` names no unit
    of it). Widths inside of a dropped block change nothing; they are recorded as dense, so that equal networks have
    equal policies.

    Attributes:
        units: Kept units by coupled group and block; `choices` in the file.
        further: What other techniques than the structured one do, in the order of their stages.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    model: dict[str, Any] = Field(default_factory=dict, description="name and fingerprint of the model it was made for")
    technique: Literal["channels"] = "channels"
    units: dict[str, int] = Field(alias="choices", description="coupled group or block -> kept units")
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
    orders: dict[str, list[int]] | None = Field(
        default=None, description="coupled group -> the order its units are put into before anything else is done"
    )
    further: tuple[TechniquePart, ...] = ()

    @field_validator("orders")
    @classmethod
    def _each_unit_once(cls, orders: dict[str, list[int]] | None) -> dict[str, list[int]] | None:
        for name, order in (orders or {}).items():
            if sorted(order) != list(range(len(order))):
                raise ValueError(f"the order of {shortened(name)} must name each of its units once")
        return orders

    @model_validator(mode="after")
    def _positive(self) -> Policy:
        _check_choices(self.units, self.kinds)
        return self

    @model_validator(mode="after")
    def _kept_fits(self) -> Policy:
        _check_kept(self.units, self.kept)
        return self

    @model_validator(mode="after")
    def _techniques_are_in_order(self) -> Policy:
        names = [STRUCTURED, *(part.technique for part in self.further)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"'techniques' names {shortened(repr(twice))} twice")
        if any(a.stage > b.stage for a, b in itertools.pairwise(self.further)):
            raise ValueError("'techniques' must be in the order of their stages: graph, shape, mask, format")
        known = set(self.units)
        for part in self.further:
            if known & part.choices.keys():
                raise ValueError(f"two techniques decide on {shortened(repr(min(known & part.choices.keys())))}")
            known |= part.choices.keys()
        return self

    @property
    def choices(self) -> dict[str, int]:
        """What is kept of every decision, of all techniques, by coupled group where decisions are tied.

        `SearchSpace.complete` gives the choices of the space's own decisions.
        """
        return {name: kept for part in self.parts for name, kept in part.choices.items()}

    @property
    def parts(self) -> tuple[TechniquePart, ...]:
        """What every technique does, the structured one among them, in the order of their stages."""
        own = TechniquePart.model_construct(  # of fields that were checked
            technique=STRUCTURED, stage=Stage.SHAPE, choices=self.units, kinds=self.kinds, kept=self.kept, payload={}
        )
        return tuple(sorted((own, *self.further), key=lambda part: part.stage))

    def to_json(self) -> str:
        """The policy as one text, its masks included."""
        return _written(self._content())

    def _content(self) -> dict[str, Any]:
        content = self.model_dump(by_alias=True, mode="json")
        del content["further"]
        if not self.orders:
            del content["orders"]
        if self.further:
            before, after = {"schema": MANY_SCHEMA, "model": content["model"]}, content
            content = before | {"techniques": [part.to_json() for part in self.parts]}
            content |= {name: value for name, value in after.items() if name not in (*_ONLY_IN_ONE, "model")}
        else:
            content = {"schema": POLICY_SCHEMA, **content}
        return content

    def save(self, path: str | Path) -> None:
        """Write the policy to `path`, replacing it atomically; large masks go into a file beside it."""
        content = masks_beside(self._content(), Path(path))
        write_text(path, _written(content))
        without_others(content, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read a policy.

        Raises:
            InputError: If the file cannot be read or is not a policy.
        """
        content = read_json(path, "policy")
        try:
            return cls.model_validate(_fields(masks_read(content, Path(path))))
        except ValidationError as error:
            raise InputError(f"{path} is not a policy: {first_fault(error)}") from error
        except ValueError as error:
            raise InputError(f"{path} is not a policy: {error}") from error


def _written(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1) + "\n"


def _fields(content: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a policy from the content of its file.

    Raises:
        ValueError: If the schema is unknown, or a key belongs to the other schema.
    """
    schema, fields = content.get("schema", POLICY_SCHEMA), {k: v for k, v in content.items() if k != "schema"}
    if schema not in (POLICY_SCHEMA, MANY_SCHEMA):
        raise ValueError(f"schema: should be {POLICY_SCHEMA!r} or {MANY_SCHEMA!r}, not {shortened(repr(schema))}")
    strays = ("units", "further") if schema == POLICY_SCHEMA else _ONLY_IN_ONE
    stray = next((name for name in strays if name in fields), None)
    if stray is not None:
        raise ValueError(f"{stray}: there is no such key in a policy of the schema {schema!r}")
    if schema == POLICY_SCHEMA:
        return fields
    return fields | _fields_of_parts(fields.pop("techniques", None))


def _fields_of_parts(techniques: Any) -> dict[str, Any]:
    parts = TypeAdapter(tuple[TechniquePart, ...]).validate_python(techniques)
    if any(a.stage > b.stage for a, b in itertools.pairwise(parts)):
        raise ValueError("'techniques' must be in the order of their stages: graph, shape, mask, format")
    own = [part for part in parts if part.technique == STRUCTURED]
    further = tuple(part for part in parts if part.technique != STRUCTURED)
    if len(own) > 1 or not further or (own and (own[0].stage, own[0].payload) != (Stage.SHAPE, {})):
        raise ValueError(f"'techniques' should name {STRUCTURED!r} at most once, as it is written, and others")
    if not own:
        return {"units": {}, "further": further}
    return {"units": own[0].choices, "kinds": own[0].kinds, "kept": own[0].kept, "further": further}


def first_fault(error: ValidationError) -> str:
    """The first fault of a failed validation in one line: where it is and what is wrong there."""
    fault = error.errors(include_url=False, include_context=False)[0]
    where = shortened(".".join(str(part) for part in fault["loc"]))
    message = shortened(str(fault["msg"]), 300)
    return f"{where}: {message}" if where else message
