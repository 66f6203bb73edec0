"""What a latency table holds, as plain values: what was measured of which layers and networks. No correction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from autoprune.errors import InputError
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.contract.protocol import Protocol, at_quiet
from autoprune.hardware.tables.correction import Run
from autoprune.hardware.tables.entries import Entry
from autoprune.hardware.tables.operator import PricedOperator
from autoprune.space import SearchSpace

__all__ = ["Choices", "TableContent"]

Choices = Mapping[str, int]


def _protocols() -> dict[str, Protocol]:
    return {"entries": Protocol.entries(), "networks": Protocol.networks()}


@dataclass
class TableContent:
    """The measurements behind a latency table, and what they are measurements of.

    Attributes:
        space: The decisions and their options.
        operators: Where the model uses which layers.
        fingerprint: Device and runtime.
        entries: Layer key -> latency, call overhead and layout changes taken off.
        runs: Networks that were timed end to end.
        overhead: Milliseconds of an empty call.
        protocols: How entries and networks were timed.
        planned: Networks that are to be timed before the table is finished.
    """

    space: SearchSpace
    operators: tuple[PricedOperator, ...]
    fingerprint: Mapping[str, str]
    entries: dict[str, Entry] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    overhead: float = 0.0
    protocols: Mapping[str, Protocol] = field(default_factory=_protocols)
    planned: int = 1

    def layers(self) -> dict[str, Layer]:
        """Every layer that the options can produce, by key."""
        found: dict[str, Layer] = {}
        for operator in self.operators:
            for inputs, outputs in operator.pairs(self.space):
                layer = operator.of_widths(inputs, outputs)
                found.setdefault(layer.key, layer)
        return found

    def executed(self, choices: Choices) -> list[tuple[PricedOperator, Layer]]:
        """The operators that a network of a full set of choices executes, each with its layer, in forward order."""
        return [(operator, operator.at(choices)) for operator in self.operators if operator.runs(choices)]

    def visited(self, choices: Iterable[Choices]) -> dict[str, Layer]:
        """The layers of given policies, by key."""
        full = [self.space.complete(each) for each in choices]
        return {layer.key: layer for kept in full for _, layer in self.executed(kept)}

    @property
    def complete(self) -> bool:
        """Whether every layer has an entry, and every network that was planned has been timed."""
        timed = len(self.runs_of("fit", "held-out"))
        return timed >= max(1, self.planned) and all(key in self.entries for key in self.layers())

    @property
    def estimated(self) -> int:
        """Entries that were estimated by the learned step function and never measured."""
        return sum(entry.source == "estimated" for entry in self.entries.values())

    def source(self, key: str) -> str | None:
        """How a layer's entry was come by, by key; None without one."""
        entry = self.entries.get(key)
        return entry.source if entry is not None else None

    def runs_of(self, *roles: str) -> list[Run]:
        """The networks that were timed in some roles; see `Run`."""
        return [run for run in self.runs if run.role in roles]

    @property
    def quiet(self) -> float | None:
        """Least milliseconds that the reference kernel took in any process that timed something; None without one."""
        of_layers = [entry.conditions.get("reference_ms") for entry in self.entries.values()]
        of_networks = [run.conditions.get("reference_ms") for run in self.runs]
        return min((ms for ms in (*of_layers, *of_networks) if ms), default=None)

    def ms_of_run(self, run: Run) -> float:
        """Milliseconds of a whole network, as they are where the reference kernel takes its quiet time."""
        return at_quiet(run.ms, run.conditions.get("reference_ms"), self.quiet)

    def ms_of(self, layer: Layer) -> float:
        """Milliseconds of a layer's entry, likewise, before the correction.

        Raises:
            InputError: If there is none.
        """
        entry = self.entries.get(layer.key)
        if entry is None:
            raise InputError(f"the latency table is not finished: {layer.key!r} was not measured; profile again")
        return at_quiet(entry.ms, entry.conditions.get("reference_ms"), self.quiet)
