"""Under which conditions something was timed: a plain value, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["Conditions"]

_STORED = ("blocks", "preemptions", "page_faults", "stolen_ticks", "load", "ratio", "reference_ms")
_IF_SET = ("device", "passes", "passes_differ", "ratio", "reference_ms")  # left out by those that do not know of them


@dataclass(frozen=True, eq=False)
class Conditions(Mapping[str, Any]):
    """What else is known of one timing; also a mapping by name, as its JSON object is.

    None where the device or the machine does not report it.

    Attributes:
        blocks: Blocks of samples that were taken.
        loops: Calls in one sample.
        disturbed: Samples left out because the process lost its core.
        preemptions: How often the process lost its core while it timed.
        page_faults: Page faults of the process meanwhile.
        stolen_ticks: Ticks of all cores that the hypervisor gave to others meanwhile.
        load: Load average of a minute.
        energy_mj: Millijoules of one call.
        energy_source: The sensor, or why there is none.
        load_s: Seconds from the packed network to the first call, compilation included.
        peak_memory_mb: The most memory taken, all networks of the session loaded, in MiB.
        device: The target's fingerprint.
        passes: Processes in which it was timed, if several were asked for.
        passes_differ: The share by which the two least latencies of the network differed between them.
        ratio: Latency as a share of the target's reference kernel's, block by block beside it; None without one.
        reference_ms: Milliseconds of the reference kernel in the quiet moments of the same process.
        others: Whatever else a device reports.
    """

    blocks: int | None = None
    loops: int | None = None
    disturbed: int | None = None
    preemptions: int | None = None
    page_faults: int | None = None
    stolen_ticks: int | None = None
    load: float | None = None
    energy_mj: float | None = None
    energy_source: str | None = None
    load_s: float | None = None
    peak_memory_mb: float | None = None
    device: Mapping[str, str] | None = None
    passes: int | None = None
    passes_differ: float | None = None
    ratio: float | None = None
    reference_ms: float | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Conditions:
        """Conditions by name; names that are unknown here are kept among the others."""
        if isinstance(content, Conditions):
            return content
        known = {name: content[name] for name in _NAMES if name in content}
        return cls(**known, others={name: value for name, value in content.items() if name not in _NAMES})

    def stored(self) -> dict[str, Any]:
        """Those that a latency table keeps, as far as they are known."""
        return {name: value for name in _STORED if (value := getattr(self, name)) is not None}

    def __getitem__(self, name: str) -> Any:
        if name in self.others:
            return self.others[name]
        if name in _NAMES and (name not in _IF_SET or getattr(self, name) is not None):
            return getattr(self, name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in _NAMES if name not in _IF_SET or getattr(self, name) is not None)
        yield from self.others

    def __len__(self) -> int:
        return sum(1 for _ in self)


_NAMES = tuple(each.name for each in fields(Conditions) if each.name != "others")
