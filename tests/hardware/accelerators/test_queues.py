"""The recursion of the queues against a machine that is run one cycle at a time, and its laws."""

import numpy as np
import pytest

from autoprune.hardware.accelerators.templates.queues import drained, stream_of
from tests.support.accelerators import one_cycle


def machine(seed):
    draw = np.random.default_rng(seed)
    pes, slots = int(draw.integers(1, 65)), int(draw.integers(2, 65))
    columns = int(draw.integers(1, 60))
    active = draw.random((2, columns)) < draw.choice([0.0, 0.1, 0.5, 0.9, 1.0])
    entries = draw.binomial(int(draw.integers(1, 12)), draw.random(), (columns, pes))
    return active, np.maximum(entries, 1), slots


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_200_random_machines_take_the_cycles_of_one_that_is_run_cycle_by_cycle(start):
    for seed in range(start, start + 50):
        active, service, slots = machine(seed)
        stream = stream_of(active, service.shape[1])
        longest_first = active[np.argsort(-active.sum(axis=1), kind="stable")]
        stepped = [one_cycle.cycles(vector, service, slots) for vector in longest_first]
        assert drained(stream, service, slots).tolist() == stepped, seed
        assert drained(stream, service, None).tolist() == drained(stream, service, 10**6).tolist()


@pytest.mark.parametrize("seed", range(10))
def test_a_longer_queue_is_never_slower_and_one_for_all_activations_never_stalls(seed):
    active, service, _ = machine(1000 + seed)
    stream = stream_of(active, service.shape[1])
    found = np.stack([drained(stream, service, slots) for slots in (2, 3, 5, 8, 9, 16, 64, 512)])
    assert (np.diff(found, axis=0) <= 0).all()
    assert (drained(stream, service, active.shape[1] + 1) == drained(stream, service, None)).all()


def test_a_machine_without_back_pressure_is_known_at_once(monkeypatch):
    from autoprune.hardware.accelerators.templates import queues

    active, service, _ = machine(7)
    stream = stream_of(np.repeat(active, 5, axis=0), service.shape[1])
    stepped = [one_cycle.cycles(vector, service, 400) for vector in np.repeat(active, 5, axis=0)]
    monkeypatch.setattr(queues, "_AT_ONCE", 1)  # vector by vector
    monkeypatch.setattr(queues, "_stepped", None)
    assert sorted(drained(stream, service, None)) == sorted(stepped)


def test_an_equal_service_everywhere_takes_service_times_activations():
    stream = stream_of(np.ones((1, 64), dtype=np.bool_), 64)
    assert drained(stream, np.full((64, 64), 5), 2).tolist() == [5 * 64 + 2 + 6]


def test_vectors_without_a_non_zero_cost_the_search_through_their_rows():
    stream = stream_of(np.zeros((2, 40), dtype=np.bool_), 16)
    assert drained(stream, np.ones((40, 16), dtype=np.int64), 8).tolist() == [3 + 1 + 6] * 2
