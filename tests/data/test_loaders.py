"""A user's own loaders."""

import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from autoprune import data
from autoprune.data import from_loaders
from autoprune.errors import InputError
from autoprune.foundations.user_code import as_given


def batch(count: int = 4, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(count, 1, 5, 5), torch.arange(count) % classes


def loader(count: int = 12, classes: int = 3, *, shuffle: bool = False) -> DataLoader:
    images = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 2, 4, 4)
    return DataLoader(TensorDataset(images, torch.arange(count) % classes), batch_size=4, shuffle=shuffle)


def test_torch_loaders_become_a_data_set() -> None:
    train, search, test = loader(), loader(8), loader(6)
    found = from_loaders(train, search, test, calibration_images=5)
    assert tuple(map(as_given, (found.train, found.search, found.test))) == (train, search, test)
    assert found.classes == 3
    assert found.shape == (2, 4, 4)
    assert found.example.shape == (1, 2, 4, 4)
    assert dict(found.counts) == {"train": 12, "calibration": 8, "search": 8, "test": 6}
    assert torch.equal(
        torch.cat([images for images, _ in found.calibration]), next(iter(DataLoader(train.dataset, 8)))[0]
    )


def test_calibration_of_a_shuffled_loader_depends_on_the_seed_alone() -> None:
    def calibration(seed: int) -> torch.Tensor:
        return torch.cat([b[0] for b in from_loaders(loader(shuffle=True), loader(), loader(), seed=seed).calibration])

    before = torch.get_rng_state()
    assert torch.equal(calibration(1), calibration(1))
    assert not torch.equal(calibration(1)[:4], calibration(2)[:4])
    assert torch.equal(before, torch.get_rng_state())


def test_lists_own_tasks_and_own_examples() -> None:
    segmentation = [(torch.ones(2, 3, 8, 8), torch.zeros(2, 8, 8))]
    found = from_loaders(segmentation, segmentation, segmentation, example_input=torch.zeros(1, 3, 16, 16))
    assert found.classes == 0  # no class numbers: not a classification
    assert found.shape == (3, 16, 16)
    assert from_loaders([batch()], [batch()], [batch()], classes=10).classes == 10


def test_test_is_never_read() -> None:
    class Untouchable:
        def __len__(self) -> int:
            return 1

        def __iter__(self):
            return _Explodes()

    assert from_loaders([batch()], [batch()], Untouchable()).classes == 3


class _Explodes:
    def __iter__(self):
        return self

    def __next__(self):
        raise AssertionError("the test split was read")


NAN = (torch.full((4, 1, 5, 5), float("nan")), torch.arange(4))


@pytest.mark.parametrize(
    ("train", "search", "said"),
    [
        ([batch(classes=1)], [batch(classes=1)], "one class"),
        ([(batch()[0], torch.full((4,), 3))], [(batch()[0], torch.full((4,), 3))], "one class"),
        ([NAN], [batch()], "train batch has images with values that are not finite"),
        ([batch()], [batch(), NAN], "search batch has images with values that are not finite"),
        ([], [batch()], "train loader gives no batches"),
        ([batch()], [], "search loader gives no batches"),
        ((batch() for _ in range(2)), [batch()], "train loader can be read only once"),
        ([{"pixels": 1}], [batch()], "does not begin with a tensor"),
        (3, [batch()], "train loader is int"),
    ],
)
def test_what_cannot_be_used_is_said(train, search, said: str) -> None:
    with pytest.raises(InputError, match=said):
        from_loaders(train, search, [batch()])


def test_labels_beyond_the_classes_are_refused() -> None:
    with pytest.raises(InputError, match="a label is 2, but there are only 2 classes"):
        from_loaders([batch()], [batch()], [batch()], classes=2)


SOURCE = """
import torch
def loaders():
    batch = (torch.ones(4, 1, 5, 5), torch.arange(4))
    return [batch], [batch], [batch]
def pair(): return [], []
def fails(): raise RuntimeError("disk is gone")
class Torn(list):
    def __iter__(self): raise OSError("image 7 is torn")
def torn(): return Torn(), [], []
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "loaders_under_test.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("loaders_under_test", None)


def test_loaders_by_reference(here: None) -> None:
    found = data.load("loaders_under_test:loaders")
    assert found.classes == 4
    assert found.name == "loaders_under_test:loaders"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pair", "returned tuple of 2; it must return"),
        ("fails", "RuntimeError: disk is gone"),
        ("torn", r"raised OSError: image 7 is torn \(.*\.py:\d+\)$"),
        ("absent", "has no absent"),
    ],
)
def test_wrong_references_are_said(here: None, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        data.load(f"loaders_under_test:{name}")


def test_a_search_split_that_memory_cannot_hold_is_refused_before_any_work(monkeypatch) -> None:
    from types import SimpleNamespace

    from autoprune.data import loaders

    batch = (torch.zeros(8, 3, 4, 4), torch.arange(8) % 2)
    monkeypatch.setattr(loaders.psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * 16 * 48 - 1))
    with pytest.raises(InputError, match=r"the search loader's 16 images need 0.0 GiB .* give fewer"):
        from_loaders([batch], [batch] * 2, [batch])
    assert from_loaders([batch], [batch], [batch]).counts["search"] == 8
