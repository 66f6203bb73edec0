"""Scoring on a split."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.evaluation import accuracy, output_of
from autoprune.models import bf16_is_fast
from autoprune.models.outputs import moved


class Told(nn.Module):
    """Gives its input back as scores, wrapped as it was told."""

    def __init__(self, wrap=lambda scores: scores) -> None:
        super().__init__()
        self.wrap, self.norm = wrap, nn.BatchNorm1d(3)

    def forward(self, x: Tensor):
        self.norm(x)
        return self.wrap(x)


SCORES = torch.eye(3)[[0, 1, 2, 0, 1]]
BATCHES = [(SCORES[:2], torch.tensor([0, 1])), (SCORES[2:], torch.tensor([2, 1, 0]))]


@pytest.mark.parametrize("bf16", [None, False, True])
def test_accuracy_is_the_share_over_all_batches(bf16: bool | None) -> None:
    assert accuracy(Told(), BATCHES, bf16=bf16) == 3 / 5


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: SimpleNamespace(logits=s),
        lambda s: {"loss": s[:0], "logits": s},
        lambda s: {"scores": s, "features": s[:0]},
        lambda s: (s, s[:0]),
        lambda s: [(s,), None],
    ],
    ids=["attribute", "logits in a mapping", "first of a mapping", "tuple", "nested"],
)
def test_the_output_that_counts(wrap) -> None:
    assert output_of(wrap(SCORES)) is SCORES
    assert accuracy(Told(wrap), BATCHES) == 3 / 5


@pytest.mark.parametrize("output", [None, {}, (), "logits", (None, SCORES)])
def test_outputs_without_a_tensor_are_refused(output: object) -> None:
    with pytest.raises(InputError, match="no tensor was found"):
        output_of(output)


def test_the_model_is_left_as_it_was() -> None:
    model = Told()
    model.train()
    model.norm.eval()
    accuracy(model, BATCHES)
    assert model.training and not model.norm.training
    model.norm.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    accuracy(model, BATCHES)
    assert model.norm.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ([], "no images"),
        ([SCORES], "no class numbers"),
        ([(SCORES, torch.ones(5))], "no class numbers"),
        ([(SCORES, torch.zeros(4, dtype=torch.int64))], "for 4 labels"),
    ],
)
def test_what_cannot_be_scored_is_said(batches, said: str) -> None:
    model = Told()
    with pytest.raises(InputError, match=said):
        accuracy(model, batches)
    assert model.training


def test_bf16_is_asked_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):  # a limit on instructions has its own test
        monkeypatch.delenv(limit, raising=False)
    for flag in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, flag, lambda: False, raising=False)
    assert not bf16_is_fast(torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert bf16_is_fast(torch.device("cpu"))
    assert not bf16_is_fast(torch.device("meta"))


def test_batches_are_moved_with_all_that_is_in_them() -> None:
    meta = torch.device("meta")
    images, (labels, extra), note = moved((SCORES, [SCORES[0], {"mask": SCORES}], "as it is"), meta)
    assert images.device == labels.device == extra["mask"].device == meta
    assert note == "as it is"


def test_a_loader_that_keeps_its_batches_can_be_trained_on_after_scoring() -> None:
    class Keeping:
        kept: list[tuple[Tensor, Tensor]] | None = None

        def __iter__(self):
            self.kept = self.kept or [(SCORES * 1.0, torch.zeros(5, dtype=torch.int64))]
            return iter(self.kept)

    loader, model = Keeping(), nn.Linear(3, 3)
    accuracy(model, loader)
    nn.functional.cross_entropy(model(loader.kept[0][0]), loader.kept[0][1]).backward()
    assert model.weight.grad is not None
