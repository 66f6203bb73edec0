"""The contract of an accelerator: a file that says what it is built of, and a template that prices layers on it."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from autoprune.errors import InputError
from autoprune.hardware.accelerators.cost import Cost
from autoprune.hardware.accelerators.faults import faults_of
from autoprune.hardware.accelerators.sections import Section, Technology
from autoprune.hardware.accelerators.technology.arithmetic import DRAM_PJ_PER_BYTE
from autoprune.hardware.accelerators.workload.work import LayerWork

__all__ = ["SCHEMA", "Accelerator"]

SCHEMA = "autoprune.accelerator/1"

MEMORY_STALL = "memory bandwidth"


class Accelerator(Section, ABC):
    """An accelerator, as its file describes it. A template is a subclass: it adds sections, and prices.

    Attributes:
        schema_: Version of the file's form.
        name: What its figures are labelled with.
        template: Which subclass.
        clock_mhz: Clock.
        technology: Node and sources.
        pattern: The pattern of zeros that it makes use of; the ratio belongs to the layer. A template says in `takes`
            which there are.
        search: Path of a key (`pe.count`) -> values that a search may give it. All other keys are fixed.
        takes: The patterns of this template, for messages.
    """

    takes: ClassVar[Sequence[str]] = ()

    schema_: Literal["autoprune.accelerator/1"] = Field(alias="schema")
    name: str = Field(min_length=1, max_length=60)
    template: str
    clock_mhz: float = Field(gt=0)
    technology: Technology = Technology()
    pattern: str
    search: Mapping[str, tuple[Any, ...]] = Field(default_factory=dict)

    @classmethod
    def build(cls, content: Mapping[str, Any]) -> Self:
        """An accelerator from the content of its file.

        Raises:
            InputError: If keys are unknown, or values impossible: all of them, each with what is nearest to it.
        """
        try:
            return cls.model_validate(dict(content))
        except ValidationError as error:
            raise InputError(faults_of(error, cls)) from error

    def content(self) -> dict[str, Any]:
        """What its file holds."""
        return self.model_dump(by_alias=True, mode="json")

    @field_validator("pattern")
    @classmethod
    def _pattern_is_taken(cls, pattern: str) -> str:
        if not cls.takes_pattern(pattern):
            raise ValueError(f"the template takes {' or '.join(cls.takes)}")
        return pattern

    @model_validator(mode="after")
    def _knobs_can_be_turned(self) -> Self:
        for path, values in self.search.items():
            if not values:
                raise ValueError(f"search: {path} has no values; leave the key out to keep it fixed")
            for value in values:
                try:
                    self._changed({path: value})
                except InputError as error:
                    raise ValueError(f"search: {error}") from error
        return self

    def knobs(self) -> Mapping[str, tuple[Any, ...]]:
        """What a search may change: path of a key -> its values."""
        return self.search

    def with_knobs(self, knobs: Mapping[str, Any]) -> Self:
        """The same chip with other values of some keys, named by their paths (`pe.count`).

        Raises:
            InputError: If there is no such key, or the chip cannot be built so.
        """
        return self._changed(knobs).model_copy(update={"search": self.search})  # whose values were tried once

    def _changed(self, knobs: Mapping[str, Any]) -> Self:
        """The chip with other values, and nothing to search: trying all values of it again takes most of the time."""
        content = {**self.content(), "search": {}}
        for path, value in knobs.items():
            *sections, key = path.split(".")
            place = content
            for section in sections:
                place = place.get(section) if isinstance(place, dict) else None  # type: ignore[assignment]
            if not isinstance(place, dict) or path in ("schema", "search", "template"):
                raise InputError(f"{path} is no key that can be changed")
            place[key] = value
        return self.build(content)

    def variants(self) -> Iterator[tuple[dict[str, Any], Self]]:
        """Every chip that the knobs allow, with the values that make it; impossible combinations are left out."""
        for values in itertools.product(*self.search.values()):
            knobs = dict(zip(self.search, values, strict=True))
            try:
                yield knobs, self.with_knobs(knobs)
            except InputError:  # each value is possible by itself; together they need not be
                continue

    def price(self, work: LayerWork) -> Cost:
        """What one call of a layer costs.

        Raises:
            InputError: If the layer's mask is none that the chip can run.
        """
        reason = self.why_not(work)
        if reason is not None:
            raise InputError(f"{self.name} cannot run {work.name}: {reason}")
        return Cost.total((self._price(part) for part in work.parts()), self.lanes)

    def total(self, works: Iterable[LayerWork]) -> Cost:
        """What one call of layers that run one after the other costs."""
        return Cost.total(map(self.price, works), self.lanes)

    @property
    @abstractmethod
    def lanes(self) -> int:
        """Multiply-accumulates that it can do in a cycle."""

    @classmethod
    @abstractmethod
    def takes_pattern(cls, pattern: str) -> bool:
        """Whether chips of this template can make use of a pattern."""

    @abstractmethod
    def why_not(self, work: LayerWork) -> str | None:
        """Why a layer's mask cannot be run; None if it can. A dense layer always can."""

    @abstractmethod
    def _price(self, work: LayerWork) -> Cost:
        """What one call of a layer of one group costs, all positions."""

    @abstractmethod
    def area(self) -> Mapping[str, float]:
        """Square millimetres by component."""

    @abstractmethod
    def storage_bytes(self, work: LayerWork) -> Mapping[str, float]:
        """Memory -> bytes that a layer's weights and their indices take in the fullest instance of it."""

    @abstractmethod
    def storage_kb(self) -> Mapping[str, float]:
        """Memory -> KB of one instance of it."""

    @property
    def streams_weights(self) -> bool:
        """Whether weights come from outside, layer by layer, so that one layer at a time has to fit."""
        return False

    @property
    def rows_of_a_tile(self) -> int:
        """Outputs that have to go before a layer gets cheaper; 1 where every single weight counts."""
        return 1

    @property
    def area_mm2(self) -> float:
        """Square millimetres of the whole chip."""
        return sum(self.area().values())

    def capacity_ok(self, works: Sequence[LayerWork]) -> bool:
        """Whether a network's weights fit into the chip's memories."""
        return self.no_room(works) is None

    def no_room(self, works: Sequence[LayerWork]) -> str | None:
        """Why a network's weights do not fit, with the size that would do; None if they do."""
        needed = self.needed_bytes(works)
        for memory, kb in self.storage_kb().items():
            if needed.get(memory, 0.0) > kb * 1024:
                where = "one layer" if self.streams_weights else f"{len(works)} layers"
                return f"{where} need {needed[memory] / 1024:.4g} KB of {memory}, and {self.name} has {kb:g}"
        return None

    def needed_bytes(self, works: Sequence[LayerWork]) -> Mapping[str, float]:
        """Memory -> bytes that layers take in its fullest instance; a weight that several read is stored once."""
        stored = {work.weight or work.name: self.storage_bytes(work) for work in works}
        add = max if self.streams_weights else float.__add__
        found: dict[str, float] = {}
        for each in stored.values():
            for memory, size in each.items():
                found[memory] = add(found.get(memory, 0.0), float(size))
        return found

    def ms(self, cost: Cost) -> float:
        """Milliseconds of a cost at this chip's clock."""
        return cost.ms(self.clock_mhz)

    @property
    def label(self) -> str:
        """The source of every figure: `simulated (eie-64)`."""
        return f"simulated ({self.name})"

    def bounded_by_dram(self, cost: Cost, moved_bytes: float, gb_s: float | None) -> Cost:
        """A cost with the traffic to DRAM: no faster than its bandwidth allows.

        Args:
            cost: On the chip alone.
            moved_bytes: Bytes that one call moves to and from DRAM.
            gb_s: Bandwidth in 1e9 bytes a second; None for a chip that needs none.
        """
        if gb_s is None:
            return cost
        longest = max(cost.cycles, moved_bytes / gb_s * self.clock_mhz * 1e-3)
        waited = {MEMORY_STALL: (longest - cost.cycles) * cost.lanes}
        moved = {**cost.bytes, "dram": moved_bytes}
        energy = {**cost.energy_pj, "dram": moved_bytes * DRAM_PJ_PER_BYTE}
        return Cost(longest, cost.lanes, cost.busy, {**cost.stalls, **waited}, moved, energy)
