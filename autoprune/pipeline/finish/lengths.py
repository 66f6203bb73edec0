"""How long finished networks are fine-tuned, and in which rounds finalists are compared: asked by jobs and by plans."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoprune.data import DataSet
from autoprune.run.experiment import Experiment

__all__ = ["Round", "epochs_of_compress", "final_epochs", "final_seeds", "rounds_of"]


@dataclass(frozen=True)
class Round:
    """One round of the comparison of finalists.

    Attributes:
        finalists: How many are fine-tuned.
        epochs: For how long.
    """

    finalists: int
    epochs: int

    @property
    def kept(self) -> int:
        """How many go on: the better half."""
        return max(1, self.finalists // 2)


def final_epochs(experiment: Experiment, data: DataSet) -> int:
    """Epochs of the last fine-tuning: what was asked for, else half of the data's own for a dense network."""
    epochs = experiment.finetune_epochs
    return max(1, data.dense_epochs // 2) if epochs is None else epochs


def final_seeds(experiment: Experiment, epochs: int) -> range:
    """Seeds of the last fine-tuning; one where nothing is trained."""
    return range(experiment.seed, experiment.seed + (experiment.finetune_seeds if epochs else 1))


def rounds_of(finalists: int, epochs: int) -> list[Round]:
    """The rounds until one finalist is left, the first a tenth of the last fine-tuning, each twice as long.

    >>> [(each.finalists, each.epochs) for each in rounds_of(7, 20)]
    [(7, 2), (3, 4)]
    >>> rounds_of(7, 0), rounds_of(1, 20)
    ([], [])
    """
    found: list[Round] = []
    short = max(1, round(epochs / 10))
    while finalists > 1 and epochs > 0:
        found.append(Round(finalists, short))
        finalists, short = found[-1].kept, min(epochs, 2 * short)
    return found


def epochs_of_compress(finalists: int, epochs: int, seeds: int, together: int = 1) -> int:
    """Epochs of all fine-tunings of a job with a search: the rounds, then the winner and the uniform baseline.

    A finalist that was fine-tuned for as long before is not fine-tuned again, nor is the winner. Of trainings that run
    at the same time the epochs of one count.

    >>> epochs_of_compress(7, 20, 1), epochs_of_compress(3, 1, 2), epochs_of_compress(7, 20, 1, together=2)
    (66, 6, 36)
    """
    rounds = rounds_of(finalists, epochs)
    first = {each.epochs: each.finalists for each in reversed(rounds)}
    known = 1 if epochs in first else 0
    trainings = {**first, epochs: first.get(epochs, 0) + 2 * seeds - known}
    return sum(length * math.ceil(count / together) for length, count in trainings.items())
