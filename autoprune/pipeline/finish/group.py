"""Processes that torchrun started: the first runs the job, the others take their part in its trainings."""

from __future__ import annotations

import io
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from autoprune.errors import RunError, first_line
from autoprune.foundations.references import importable_here
from autoprune.foundations.threads import use_threads
from autoprune.training.ranks import Ranks
from autoprune.training.trainer import Trainer

__all__ = ["assist", "leading", "run_together"]

_ENDED = "ended"
_LOOK = 0.2  # seconds between two looks at what the first process has to say
_SECONDS_TO_MEET = 600.0
_SILENCE = timedelta(hours=1)  # of another process in the midst of a training, until it is taken for lost

_led: list[_Leader] = []
"""The group of this process, where it is the first of one."""


class _Leader:
    """The first process's side.

    Args:
        store: What all processes of the group read.
        ranks: Its place.
    """

    def __init__(self, store: Store, ranks: Ranks) -> None:
        self._store, self._ranks = store, ranks
        self._trainings, self._over = 0, False

    def run(self, trainer: Trainer, epochs: int | None, say: Callable[[str], None], **hooks: Any) -> None:
        """Run a training with all processes; in this one alone where it cannot be sent to the others."""
        content = None if self._over or trainer.device.type != "cpu" else _packed(trainer, say)
        if content is None:
            trainer.run(epochs, **hooks)
            return
        said = {"bytes": len(content), "epochs": epochs, "threads": torch.get_num_threads()}
        self._store.set(f"training {self._trainings}", json.dumps(said))
        self._trainings += 1
        dist.broadcast(torch.frombuffer(content, dtype=torch.uint8), 0)
        trainer.ranks = self._ranks
        try:
            trainer.run(epochs, **hooks)
        except BaseException:  # the others wait for a step that does not come
            self.end()
            raise
        finally:
            trainer.ranks = None

    def end(self) -> None:
        """Let the others go; whatever is trained from now on is trained in this process alone."""
        self._over = True
        self._store.set(_ENDED, "yes")


def run_together(trainer: Trainer, epochs: int | None, say: Callable[[str], None], **hooks: Any) -> None:
    """Run a training, with the other processes where torchrun has started some.

    Args:
        trainer: What is trained, in place.
        epochs: As of `Trainer.run`.
        say: Told why a training cannot be shared.
        **hooks: As of `Trainer.run`.
    """
    if _led:
        _led[-1].run(trainer, epochs, say, **hooks)
    else:
        trainer.run(epochs, **hooks)


@contextmanager
def leading() -> Iterator[None]:
    """Around a job in the first process: its trainings are shared with the others, which are let go in the end.

    Raises:
        RunError: If the processes do not find each other.
    """
    store, ranks = _joined()
    leader = _Leader(store, ranks)
    _led.append(leader)
    try:
        yield
    finally:
        _led.pop()
        leader.end()


def assist() -> int:
    """Take part in the trainings of the first process until it ends; the exit code."""
    store, ranks = _joined()
    trainings = 0
    while True:
        if store.check([_ENDED]):
            return 0
        if not store.check([f"training {trainings}"]):
            time.sleep(_LOOK)
            continue
        said = json.loads(store.get(f"training {trainings}"))
        trainings += 1
        content = torch.empty(said["bytes"], dtype=torch.uint8)
        dist.broadcast(content, 0)
        _take_part(content.numpy().tobytes(), said, store, ranks)


def _take_part(content: bytes, said: dict[str, Any], store: Store, ranks: Ranks) -> None:
    with _ending_with_the_first(store), importable_here(), use_threads(said["threads"]):
        trainer: Trainer = torch.load(io.BytesIO(content), weights_only=False)  # written by the first process
        trainer.ranks = ranks
        try:
            trainer.run(said["epochs"])
        except Exception:
            # What went wrong in the first process, too, is reported there, and this one is let go meanwhile.
            time.sleep(10 * _LOOK)
            raise


@contextmanager
def _ending_with_the_first(store: Store) -> Iterator[None]:
    """While something waits for the first process: it may end without the step that is waited for."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK):
            if store.check([_ENDED]):
                os._exit(0)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _joined() -> tuple[Store, Ranks]:
    """Meet the other processes at the address that torchrun has put into the environment.

    Raises:
        RunError: If they do not come.
    """
    try:
        shared, rank, count = next(rendezvous("env://"))
        store = PrefixStore(_generation(shared, rank, count), shared)
        dist.init_process_group(
            "gloo", store=PrefixStore("group", store), rank=rank, world_size=count, timeout=_SILENCE
        )
    except (RuntimeError, ValueError) as error:
        raise RunError(f"the processes of torchrun do not find each other: {first_line(error)}") from error
    return store, Ranks(rank, count)


def _generation(store: Store, rank: int, count: int) -> str:
    """A name that the processes of this start agree on: torchrun's store may have keys of those that died before.

    Every process says hello under a name of its own, and goes by what the first answers to that name.

    Raises:
        RuntimeError: If one of them does not come.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"hello {rank}", own)
        _wait_for(lambda: store.check([f"answer to {own}"]), "rank 0")
        generation: str = store.get(f"answer to {own}").decode()
        store.set(f"{generation} has {rank}", "yes")
        return generation
    for other in range(1, count):
        _wait_for(lambda other=other: _has_come(store, own, other), f"rank {other}")  # type: ignore[misc]
    return own


def _has_come(store: Store, generation: str, rank: int) -> bool:
    """Answer whatever hello there is of a rank; whether it has taken the answer."""
    if store.check([f"hello {rank}"]):
        store.set(f"answer to {store.get(f'hello {rank}').decode()}", generation)
    found: bool = store.check([f"{generation} has {rank}"])
    return found


def _wait_for(there: Callable[[], bool], who: str) -> None:
    end = time.monotonic() + _SECONDS_TO_MEET
    while not there():
        if time.monotonic() > end:
            raise RuntimeError(f"{who} did not come within {_SECONDS_TO_MEET:.0f} s")
        time.sleep(_LOOK / 4)


def _packed(trainer: Trainer, say: Callable[[str], None]) -> bytearray | None:
    """A training for the other processes; None, and a word of it, where it cannot be sent."""
    content = io.BytesIO()
    try:
        torch.save(trainer, content)
    except Exception as error:  # noqa: BLE001 - a network, a loader or a loss of the user's may refuse in any way
        say(f"trained in one process alone: it cannot be sent to the others ({first_line(error)})")
        return None
    return bytearray(content.getbuffer())
