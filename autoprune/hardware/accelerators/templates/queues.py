"""How long processing elements behind queues take for a stream of broadcast activations, cycle for cycle.

One activation a cycle is broadcast to every processing element (PE), as long as no PE's queue is full. A PE serves its
activations in order. With s the cycles of service, B the slots of a queue (a ring of B holds B - 1), and the k-th
activation pushed at P and begun by PE i at L:

    P_k    = max(P_(k-1) + 1 + rows_k, max_i L_(i, k-B+1) + 1)
    L_i,k  = max(P_k + 1, L_i,(k-1) + s_i,(k-1))

This is the machine of EIE (Han et al., ISCA 2016): its authors' simulator gives the same cycles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PIPELINE", "Stream", "drained", "drained_and_unblocked", "stream_of"]

PIPELINE = 6
"""Cycles from the end of the last service until its result is written."""

_AT_ONCE = 2_000_000  # broadcasts times PEs that are held at once

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stream:
    """Which columns are broadcast for each vector of a sample, longest vector first.

    Attributes:
        columns: (vectors, longest): column number of each broadcast; 0 beyond a vector's length.
        rows: (vectors, longest): cycles that the search for the next non-zero loses before it.
        lengths: (vectors,): broadcasts of each vector, descending.
        trailing: (vectors,): cycles that the search goes on after the last one.
    """

    columns: Counts
    rows: Counts
    lengths: Counts
    trailing: Counts

    def part(self, vectors: slice | NDArray[np.bool_]) -> Stream:
        """Some of the vectors, in the same order."""
        return Stream(self.columns[vectors], self.rows[vectors], self.lengths[vectors], self.trailing[vectors])


def stream_of(active: NDArray[np.bool_], lanes: int) -> Stream:
    """What is broadcast for each vector.

    Activations are searched by rows of `lanes`; leaving a row takes a cycle, unless its last lane held the non-zero.

    Args:
        active: Non-zero activations, (vectors, columns).
        lanes: Activations of one row: one for each PE.
    """
    active = active[np.argsort(-active.sum(axis=1), kind="stable")]
    lengths = active.sum(axis=1).astype(np.int64)
    longest = int(lengths.max(initial=0))
    # True sorts first, so the first `longest` places of each vector are its columns, in order.
    columns = np.argsort(~active, axis=1, kind="stable")[:, :longest].astype(np.int64)
    row = columns // lanes
    left_free = (columns % lanes == lanes - 1).astype(np.int64)
    rows = row.copy()
    rows[:, 1:] = row[:, 1:] - row[:, :-1] - np.minimum(left_free[:, :-1], row[:, 1:] - row[:, :-1])
    all_rows = -(-active.shape[1] // lanes)
    trailing = np.full(len(active), all_rows, dtype=np.int64)
    some = lengths > 0
    at_end = lengths[some, None] - 1
    trailing[some] -= np.take_along_axis((row + left_free)[some], at_end, 1)[:, 0]
    return Stream(columns, rows, lengths, trailing)


def drained(stream: Stream, service: Counts, slots: int | None) -> Counts:
    """Cycles until all results of each vector are written.

    Args:
        stream: What is broadcast.
        service: Cycles of each PE for each column, (columns, PEs); at least 1.
        slots: B, at least 2; None for queues that are never full.

    Returns:
        Cycles, (vectors,), in the order of `stream`.
    """
    return drained_and_unblocked(stream, service, slots)[0]


def drained_and_unblocked(stream: Stream, service: Counts, slots: int | None) -> tuple[Counts, Counts]:
    """Cycles of each vector, and what they would be with queues that are never full.

    Only vectors that meet a full queue are stepped through, broadcast by broadcast: of the others all is known at once.
    """
    vectors, longest = stream.columns.shape
    at_once = max(1, _AT_ONCE // max(1, longest * service.shape[1]))
    unblocked = np.empty(vectors, dtype=np.int64)
    blocked = np.zeros(vectors, dtype=np.bool_)
    for start in range(0, vectors, at_once):
        part = slice(start, start + at_once)
        unblocked[part], begun, pushed = _unblocked(stream.part(part), service)
        if slots is not None and slots <= longest:
            late = begun[:, : longest - slots + 1] + 1 > pushed[:, slots - 1 :]
            alive = np.arange(slots - 1, longest) < stream.lengths[part, None]
            blocked[part] = (late & alive).any(axis=1)
    cycles = unblocked.copy()
    if slots is not None and blocked.any():
        cycles[blocked] = _stepped(stream.part(blocked), service, slots)
    return cycles, unblocked


def _unblocked(stream: Stream, service: Counts) -> tuple[Counts, Counts, Counts]:
    """Cycles, when the last PE begins each broadcast, and when it is pushed, if no queue is ever full.

    L_k = S_(k-1) + max over j <= k of (P_j + 1 - S_(j-1)), with S the service so far. Beyond a vector's length there
    is nothing to serve, and what is begun there is the end.
    """
    longest = stream.columns.shape[1]
    alive = np.arange(longest) < stream.lengths[:, None]
    pushed = np.cumsum(np.where(alive, 1 + stream.rows, 0), axis=1)
    served = service[stream.columns] * alive[:, :, None]
    before = np.cumsum(served, axis=1) - served
    begun = before + np.maximum.accumulate(pushed[:, :, None] + 1 - before, axis=1)
    if not longest:
        return stream.trailing + 1 + PIPELINE, pushed, pushed
    idle = (begun[:, -1] + served[:, -1]).max(axis=1) * (stream.lengths > 0)
    cycles: Counts = np.maximum(idle, pushed[:, -1] + stream.trailing + 1) + PIPELINE
    return cycles, begun.max(axis=2), pushed


def _stepped(stream: Stream, service: Counts, slots: int) -> Counts:
    """Cycles of each vector, broadcast by broadcast."""
    vectors, longest = stream.columns.shape
    pushed = np.zeros(vectors, dtype=np.int64)
    free_at = np.zeros((vectors, service.shape[1]), dtype=np.int64)  # when each PE can begin the next
    begun = np.zeros((longest, vectors), dtype=np.int64)  # when the last PE began each broadcast
    alive = np.searchsorted(-stream.lengths, -np.arange(longest), side="left")
    for k in range(longest):
        n = int(alive[k])  # vectors are sorted: the first n have a k-th broadcast
        push = pushed[:n] + 1 + stream.rows[:n, k]
        if k >= slots - 1:
            push = np.maximum(push, begun[k - slots + 1, :n] + 1)
        start = np.maximum(push[:, None] + 1, free_at[:n])
        begun[k, :n] = start.max(axis=1)
        free_at[:n] = start + service[stream.columns[:n, k]]
        pushed[:n] = push
    cycles: Counts = np.maximum(free_at.max(axis=1), pushed + stream.trailing + 1) + PIPELINE
    return cycles
