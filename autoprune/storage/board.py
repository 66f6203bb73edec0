"""What the log of a study comes to: which candidates are wanted, who scores them, and what they scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoprune.errors import RunError
from autoprune.storage.base import Fact, Store

__all__ = ["Board", "Lease"]


@dataclass(frozen=True)
class Lease:
    """A candidate in somebody's hands.

    Attributes:
        worker: Whose.
        until: When others may take it, in seconds since the epoch by the store's clock.
    """

    worker: str
    until: float


@dataclass
class _State:
    """What the facts so far come to."""

    contract: dict[str, Any] = field(default_factory=dict)
    ended: bool = False
    wanted: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)


class Board:
    """A study as its log has it; the same in every process that has read as far.

    | fact | holds | means |
    |---|---|---|
    | `study` | the contract, with the run's `id` | the study begins, or goes on; of another run, anew |
    | `wanted` | `jobs`: key -> candidate | these are to be scored |
    | `lease` | `key`, `worker`, `seconds` | its first free taker has a candidate for so long |
    | `beat` | `worker`, `seconds` | a worker is alive: its leases last so long from now |
    | `result` | `key`, `worker`, `scored` | what a candidate scored; the first counts, all are equal |
    | `failed` | `key`, `worker`, `why` | a worker could not score a candidate; the coordinator tries it itself |
    | `ended` | | the search is over: workers leave |

    A key is a candidate's content, so that a result that comes late, or twice, is the same result. Of another run it
    would be another result: every fact but the first names the run that it is of, `study`, and counts in that run only.
    A process is of the run that it began, or found first; it writes for no other.

    Args:
        store: Keeps the facts.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._read = -1
        self._state = _State()
        self._mine: str | None = None

    @property
    def contract(self) -> dict[str, Any]:
        """What everybody in the study has to agree on; empty while there is no study."""
        return self._state.contract

    @property
    def ended(self) -> bool:
        """Whether the search is over."""
        return self._state.ended

    @property
    def results(self) -> Mapping[str, Mapping[str, Any]]:
        """What candidates scored, by key."""
        return self._state.results

    @property
    def failures(self) -> Mapping[str, str]:
        """Why workers could not score candidates, by key."""
        return self._state.failures

    @property
    def wanted(self) -> Mapping[str, Mapping[str, Any]]:
        """Candidates that are neither scored nor failed, by key, in the order in which they are asked for."""
        return self._state.wanted

    def free(self) -> list[str]:
        """Keys of wanted candidates that nobody has now."""
        now = self.store.now()
        return [key for key in self.wanted if not self._is_held(key, now)]

    def holder(self, key: str) -> str | None:
        """Who has a candidate, though its time may be over; None if nobody ever had it."""
        lease = self._state.leases.get(key)
        return None if lease is None else lease.worker

    def refresh(self) -> bool:
        """Read on.

        Returns:
            Whether there was anything new.

        Raises:
            StoreError: If the store cannot be read.
        """
        facts = self.store.read(self._read)
        for fact in facts:
            self._take(fact)
        self._mine = self._mine or self.contract.get("id")
        return bool(facts)

    def refuse_successor(self) -> None:
        """Go no further in the study of another run.

        Raises:
            RunError: If one has begun the study anew; the scores of this process are not those of that run.
        """
        theirs = self.contract.get("id")
        if theirs != self._mine:
            run, host = self.contract.get("run"), self.contract.get("host")
            raise RunError(f"the study was begun anew by the run {run} on {host}; start this process again")

    def begin(self, contract: Mapping[str, Any]) -> None:
        """Begin the study, or go on with it; the contract has the run's `id`.

        Raises:
            StoreError: If that is not possible.
        """
        self.store.append([("study", contract)])
        self._mine = contract["id"]

    def write(self, kind: str, **content: Any) -> None:
        """Write one fact.

        Raises:
            StoreError: If that is not possible.
        """
        self.write_all([(kind, content)])

    def write_all(self, facts: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Write several facts, all or none.

        Raises:
            StoreError: If that is not possible.
        """
        self.store.append([(kind, {**content, "study": self._mine}) for kind, content in facts])

    def _take(self, fact: Fact) -> None:
        self._read = fact.number
        apply = _READERS.get(fact.kind)
        current = fact.kind == "study" or fact.content.get("study") == self.contract.get("id")
        if apply is not None and current:  # a newer version may write more
            apply(self._state, fact)

    def _is_held(self, key: str, now: float) -> bool:
        lease = self._state.leases.get(key)
        return lease is not None and lease.until > now


def _study(state: _State, fact: Fact) -> None:
    if state.contract.get("id") != fact.content.get("id"):
        state.wanted, state.results, state.failures, state.leases = {}, {}, {}, {}
    state.contract, state.ended = dict(fact.content), False


def _wanted(state: _State, fact: Fact) -> None:
    for key, job in fact.content["jobs"].items():
        if key not in state.results:
            state.failures.pop(key, None)
            state.wanted.setdefault(key, job)


def _lease(state: _State, fact: Fact) -> None:
    key = fact.content["key"]
    held = state.leases.get(key)
    if key in state.wanted and (held is None or held.until <= fact.at):
        state.leases[key] = Lease(fact.content["worker"], fact.at + fact.content["seconds"])


def _beat(state: _State, fact: Fact) -> None:
    worker, until = fact.content["worker"], fact.at + fact.content["seconds"]
    state.leases = {k: Lease(worker, until) if v.worker == worker else v for k, v in state.leases.items()}


def _result(state: _State, fact: Fact) -> None:
    key = fact.content["key"]
    state.results.setdefault(key, dict(fact.content["scored"]))
    _done(state, key)


def _failed(state: _State, fact: Fact) -> None:
    key = fact.content["key"]
    if key in state.wanted:
        state.failures[key] = fact.content["why"]
        _done(state, key)


def _done(state: _State, key: str) -> None:
    state.wanted.pop(key, None)
    state.leases.pop(key, None)


def _ended(state: _State, fact: Fact) -> None:
    state.ended = True


_READERS = {
    "study": _study,
    "wanted": _wanted,
    "lease": _lease,
    "beat": _beat,
    "result": _result,
    "failed": _failed,
    "ended": _ended,
}
