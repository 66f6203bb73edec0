"""Losses against values worked out by hand."""

import math

import pytest
import torch

from autoprune.errors import InputError
from autoprune.training import cross_entropy, distillation

BATCH = (torch.zeros(2, 1), torch.tensor([0, 1]))


def test_cross_entropy_with_label_smoothing() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    # Probabilities (3/4, 1/4) and (1/2, 1/2); smoothed targets (0.95, 0.05) and (0.05, 0.95).
    by_hand = (-(0.95 * math.log(0.75) + 0.05 * math.log(0.25)) - math.log(0.5)) / 2
    assert float(cross_entropy(logits, BATCH, label_smoothing=0.1)) == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_distillation_is_the_scaled_divergence_from_the_teacher(temperature: float) -> None:
    teacher = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]]) * temperature
    student = torch.tensor([[0.0, 0.0], [math.log(4.0), 0.0]]) * temperature
    # Soft targets (3/4, 1/4), (1/2, 1/2) against (1/2, 1/2), (4/5, 1/5); KL(teacher || student), mean of two images.
    first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    second = 0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2)
    found = float(distillation(student, teacher, temperature))
    assert found == pytest.approx(temperature**2 * (first + second) / 2, rel=1e-6)


def test_distillation_counts_every_position_like_an_image() -> None:
    """As cross-entropy does: a segmentation of 6 x 5 pixels is 30 classifications."""
    draw = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 6, 5, generator=draw), torch.randn(2, 4, 6, 5, generator=draw)
    flat = [logits.movedim(1, -1).reshape(-1, 4) for logits in (student, teacher)]
    assert float(distillation(student, teacher, 2.0)) == pytest.approx(float(distillation(*flat, 2.0)), rel=1e-5)


def test_distillation_from_oneself_is_nothing() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert float(distillation(logits, logits, 3.0)) == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match="the teacher"):
        distillation(logits, logits[:, :4], 3.0)


def test_labels_that_do_not_fit_are_refused() -> None:
    logits = torch.zeros(2, 2)
    with pytest.raises(InputError, match="no labels"):
        cross_entropy(logits, torch.zeros(2, 1))
    with pytest.raises(InputError, match="no classification"):
        cross_entropy(logits, (torch.zeros(2), torch.zeros(2)))
    with pytest.raises(InputError, match="a label is 2 but the model has only 2 outputs"):
        cross_entropy(logits, (torch.zeros(2), torch.tensor([0, 2])))
    with pytest.raises(InputError, match="a label is -1"):
        cross_entropy(logits, (torch.zeros(2), torch.tensor([0, -1])))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_class_numbers_of_any_whole_type_are_labels(dtype) -> None:
    logits, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1, 0])
    assert torch.equal(cross_entropy(logits, (None, labels.to(dtype))), cross_entropy(logits, (None, labels)))
