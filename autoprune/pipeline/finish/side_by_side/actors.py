"""Trainings on a Ray cluster, on this machine or on many."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autoprune.errors import first_line
from autoprune.foundations.user_code import described
from autoprune.models import save_weights
from autoprune.pipeline.finish.side_by_side.base import Elsewhere, Heard, Training
from autoprune.techniques.homes.cluster import connect
from autoprune.techniques.homes.worker import numerics, use_numerics
from autoprune.training import EpochResult

__all__ = ["Cluster"]

_RETRIES = 3
_LOOK = 1.0  # seconds between two looks at the clock


class Cluster:
    """Does each training as a task of a cluster; one whose process dies begins again.

    A cluster keeps no checkpoints: what was not finished when the job ends begins anew.

    Args:
        address: Of the cluster; see `autoprune.techniques.homes.cluster.connect`.
        processors: That a cluster started here has at least.
        threads: Of each training.
    """

    def __init__(self, address: str, processors: int, threads: int) -> None:
        self._address, self._processors, self._threads = address, processors, threads

    def train(self, trainings: Sequence[Training], heard: Heard) -> None:
        """See `Place`.

        Raises:
            Elsewhere: If the cluster cannot be reached, or the trainings cannot be sent there.
        """
        import ray

        try:
            ours = connect(self._address, self._processors)
        except Exception as error:  # Ray raises what it likes
            raise Elsewhere(f"--ray {self._address}: {first_line(error)}") from error
        try:
            self._all(trainings, heard)
        finally:
            if ours:
                ray.shutdown()

    def _all(self, trainings: Sequence[Training], heard: Heard) -> None:
        import ray

        content = ray.put(_packed(trainings))
        one = ray.remote(num_cpus=self._threads, max_retries=_RETRIES)(_train)
        references = {
            one.remote([content], number, numerics(), self._threads): each for number, each in enumerate(trainings)
        }
        try:
            while references:
                ready, _ = ray.wait(list(references), timeout=_LOOK)
                heard.waited()
                for reference in ready:
                    _keep(reference, references.pop(reference), heard)
        finally:
            for reference in references:
                ray.cancel(reference, force=True)


def _packed(trainings: Sequence[Training]) -> bytes:
    content = io.BytesIO()
    try:
        torch.save([each.trainer for each in trainings], content)
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError) as error:
        raise Elsewhere(f"they cannot be sent to another process ({first_line(error)})") from error
    return content.getvalue()


def _keep(reference: Any, training: Training, heard: Heard) -> None:
    """Keep the weights of a training; one that failed is left to whoever asked."""
    import ray

    try:
        state, epochs = ray.get(reference)
    except Exception as error:  # noqa: BLE001 - of a process that died too often, or of the training
        heard.say(f"{training.what}: {first_line(error)}")
        return
    if isinstance(state, str):
        heard.say(f"{training.what}: {state}")
        return
    save_weights(state, training.weights)
    for values in epochs:
        heard.epoch(values)


def _train(
    content: list[Any], number: int, computing: dict[str, Any], threads: int
) -> tuple[dict[str, Tensor] | str, list[dict[str, Any]]]:
    """What runs on the cluster: the weights and the figures of every epoch, or why there are none.

    Args:
        content: Ray's reference to all trainings, in a list: Ray would look it up itself, and not again in a retry.
        number: Of the training.
        computing: As of `numerics`.
        threads: To train with.
    """
    from dataclasses import asdict

    import ray

    use_numerics(computing, threads)
    epochs: list[dict[str, Any]] = []

    def after(result: EpochResult) -> None:
        epochs.append(asdict(result))

    try:
        trainer = torch.load(io.BytesIO(ray.get(content[0])), weights_only=False)[number]  # written by the parent
        trainer.run(on_epoch=after)
    except Exception as error:  # noqa: BLE001 - whoever asked does it again, and reports what comes of it
        return described(error), []
    return dict(trainer.model.state_dict()), epochs
