"""A choice of thresholds as the target timed it, and what of it is over a limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from autoprune.dynamic_networks.thresholds import Choice
from autoprune.hardware.targets.stream import Stream
from autoprune.run.settings import DynamicSettings

__all__ = ["Missed", "Verified"]


@dataclass(frozen=True)
class Missed:
    """A limit that a choice is over.

    Attributes:
        what: Of which time.
        ms: What it takes as measured.
        limit: What it may take, in milliseconds.
        asked: Whether only a user sets such a limit.
    """

    what: str
    ms: float
    limit: float
    asked: bool


@dataclass(frozen=True, eq=False)
class Verified:
    """A choice whose file was timed.

    Attributes:
        choice: The exits.
        file: The ONNX model.
        dense_ms: The dense network in the same session.
        paths_ms: Every path, that to the end last.
        streams: Of the dense network and of the file.
        deadlines: For every path its deadline and the share of calls that keep it; empty unless they were asked for.
        stream_paths_ms: What calls of the stream took at the median, by the path that the file says it took.
    """

    choice: Choice
    file: bytes
    dense_ms: float
    paths_ms: tuple[float, ...]
    streams: tuple[Stream, Stream]
    deadlines: tuple[dict[str, float], ...] = ()
    stream_paths_ms: Mapping[int, float] = field(default_factory=dict)

    @property
    def predicted(self) -> float:
        """Expected time in milliseconds from paths and shares."""
        return float(np.dot(self.paths_ms, self.choice.shares))

    @property
    def call_ms(self) -> float:
        """What a single call takes beside the network: the protocol repeats calls, the stream does not."""
        return max(0.0, self.streams[0].p50 - self.dense_ms)

    @property
    def predicted_share(self) -> float:
        """Paths and shares beside the dense network, as single calls of a stream."""
        return (self.predicted + self.call_ms) / (self.dense_ms + self.call_ms)

    @property
    def measured_share(self) -> float:
        """The stream's mean beside the dense network's in the same stream."""
        return self.streams[1].mean / self.streams[0].mean

    @property
    def mean_ms(self) -> float:
        """The mean as paths and shares give it, or as the stream took it, whichever is longer."""
        return max(self.predicted, self.measured_share * self.dense_ms)

    @property
    def p95_ms(self) -> float:
        """The stream's 95th percentile, at the dense network's time of the paths' session."""
        return self.streams[1].p95 / self.streams[0].mean * self.dense_ms

    def missed(self, settings: DynamicSettings) -> Missed | None:
        """What is over its limit as measured; None where all hold.

        Half a percent of the longest path and one of the others are taken for noise.
        """
        dense = self.dense_ms
        found = [
            ("mean", self.mean_ms, settings.limit_ms("mean_latency", dense), 1.01, True),
            ("95th percentile", self.p95_ms, settings.limit_ms("p95", dense), 1.01, True),
            ("longest path", max(self.paths_ms), settings.limit_ms("worst", dense) or dense, 1.005, False),
        ]
        over = (
            Missed(what, ms, most, by_user) for what, ms, most, noise, by_user in found if most and ms > noise * most
        )
        return next(over, None)
