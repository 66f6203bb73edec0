"""What every data source must do.

Subclass `DataSourceTests` in a test module, name it `Test...`, and say how the source is made:

    class TestMine(DataSourceTests):
        def source(self):
            return Mine()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoprune.data.base import DataSet, DataSource

__all__ = ["DataSourceTests"]

SPLITS = ("train", "calibration", "search", "test")


class DataSourceTests(ABC):
    """Tests of one source whose batches are (inputs, labels).

    Attributes:
        data_dir: What `locate` is handed.
        batch_size: Samples in a training batch; the source must have more.
        has_twins: Whether two samples of the data set may be equal, as in some published ones.
    """

    data_dir: Path | None = None
    batch_size = 8
    has_twins = False

    @abstractmethod
    def source(self) -> DataSource[Any]:
        """A new source."""

    def load(self, seed: int = 0) -> DataSet:
        """The data set of a new source."""
        return self.source().load(self.data_dir, batch_size=self.batch_size, seed=seed)

    def test_every_split_gives_inputs_and_labels(self) -> None:
        """Float inputs of the shape that the data set says, finite, and a class number each."""
        found = self.load()
        for part in SPLITS:
            inputs, labels = _whole(getattr(found, part))
            assert tuple(inputs.shape[1:]) == tuple(found.shape), part
            assert inputs.dtype == torch.float32 and bool(torch.isfinite(inputs).all()), part
            assert labels.dtype == torch.int64 and labels.shape == (len(inputs),), part
            assert int(labels.min()) >= 0 and int(labels.max()) < found.classes, part

    def test_what_is_known_before_loading_is_so(self) -> None:
        """`shape` and `classes` of the source, where it names them, are the data set's."""
        source, found = self.source(), self.load()
        assert source.shape in (None, tuple(found.shape))
        assert source.classes in (None, found.classes)

    def test_the_counts_are_those_of_the_splits(self) -> None:
        """`counts` says how many samples a split has; training batches may leave out less than a batch."""
        found = self.load()
        for part in SPLITS[1:]:
            assert len(_whole(getattr(found, part))[0]) == found.counts[part], part
        assert 0 <= found.counts["train"] - len(_whole(found.train)[0]) < self.batch_size

    def test_all_classes_are_learned(self) -> None:
        """A class that no training sample has could not be recognised."""
        found = self.load()
        assert set(_whole(found.train)[1].tolist()) >= set(_whole(found.test)[1].tolist())

    def test_the_example_is_one_input(self) -> None:
        """(1, ...), of the inputs' type."""
        found = self.load()
        assert tuple(found.example.shape) == (1, *found.shape)
        assert found.example.dtype == torch.float32

    def test_no_sample_is_in_two_splits(self) -> None:
        """Scores would be too good; augmented training samples cannot be compared, their unaugmented bytes can."""
        found = self.load()
        seen: set[bytes] = set()
        for part in SPLITS if hasattr(found.train, "images") else SPLITS[1:]:
            own = {sample.numpy().tobytes() for sample in _plain(getattr(found, part))}
            assert self.has_twins or seen.isdisjoint(own), part
            seen |= own

    def test_no_seed_moves_a_sample_to_another_split(self) -> None:
        """Weights of an earlier run must not have seen what a later run scores on."""
        first, other = self.load(seed=0), self.load(seed=1)
        for part in SPLITS[1:]:
            for one, two in zip(_whole(getattr(first, part)), _whole(getattr(other, part)), strict=True):
                assert torch.equal(one, two), part
        assert first.counts == other.counts

    def test_splits_can_be_read_again(self) -> None:
        """Candidates are all scored on the same batches, in the same order."""
        found = self.load()
        for part in SPLITS[1:]:
            for one, two in zip(_whole(getattr(found, part)), _whole(getattr(found, part)), strict=True):
                assert torch.equal(one, two), part

    def test_an_epoch_can_be_repeated(self) -> None:
        """Where training batches have `set_epoch`, the seed and the epoch decide about order and augmentation."""
        first, again, other = self.load(), self.load(), self.load(seed=1)
        if not hasattr(first.train, "set_epoch"):
            return
        for found in (first, again, other):
            found.train.set_epoch(3)  # type: ignore[attr-defined]
        one, two, three = (_whole(found.train) for found in (first, again, other))
        assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
        assert not torch.equal(one[0], three[0])


def _whole(batches: Iterable[Any]) -> tuple[Tensor, Tensor]:
    """All inputs and labels of a split, in its order."""
    inputs, labels = zip(*batches, strict=True)
    return torch.cat(inputs), torch.cat(labels)


def _plain(batches: Any) -> Tensor:
    """A split's samples before augmentation."""
    held: Tensor = batches.images if hasattr(batches, "images") else _whole(batches)[0]
    return held
