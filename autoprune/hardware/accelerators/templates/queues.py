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

__all__ = ["PIPELINE", "Stream", "drained", "stream_of"]

PIPELINE = 6
"""Cycles from the end of the last service until its result is written."""

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
    vectors, longest = stream.columns.shape
    pushed = np.zeros(vectors, dtype=np.int64)
    free_at = np.zeros((vectors, service.shape[1]), dtype=np.int64)  # when each PE can begin the next
    begun = np.zeros((longest, vectors), dtype=np.int64)  # when the last PE began each broadcast
    alive = np.searchsorted(-stream.lengths, -np.arange(longest), side="left")
    for k in range(longest):
        n = int(alive[k])  # vectors are sorted: the first n have a k-th broadcast
        push = pushed[:n] + 1 + stream.rows[:n, k]
        if slots is not None and k >= slots - 1:
            push = np.maximum(push, begun[k - slots + 1, :n] + 1)
        start = np.maximum(push[:, None] + 1, free_at[:n])
        begun[k, :n] = start.max(axis=1)
        free_at[:n] = start + service[stream.columns[:n, k]]
        pushed[:n] = push
    cycles: Counts = np.maximum(free_at.max(axis=1), pushed + stream.trailing + 1) + PIPELINE
    return cycles
