"""The weights that ship are the trained ResNet-20 that they are said to be."""

import json
from pathlib import Path

import pytest
import torch

from autoprune import data, models
from autoprune.data.sources import fashion_mnist as fashion
from autoprune.evaluation import accuracy

WEIGHTS = Path(models.__file__).parent / "weights" / "resnet20_fashion_mnist.safetensors"


def test_they_fit_and_are_as_accurate_as_promised() -> None:
    model = models.build("resnet20", in_channels=1, seed=0)
    models.load_weights(model, WEIGHTS)
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
    assert WEIGHTS.stat().st_size < 1.3e6
    figures = json.loads(WEIGHTS.with_suffix(".json").read_text())
    assert figures["test_accuracy"] >= 0.925
    assert figures["counts"] == {"search": 5000, "calibration": 512, "train": 54_488, "test": 10_000}


@pytest.mark.skipif(not fashion.SYSTEM_DIR.is_dir(), reason="Fashion-MNIST is not installed on this machine")
def test_they_recognise_search_images_as_well_as_the_figures_say() -> None:
    dataset = data.load("fashion-mnist", batch_size=128)
    model = models.build("resnet20", in_channels=1, seed=0)
    models.load_weights(model, WEIGHTS)
    said = json.loads(WEIGHTS.with_suffix(".json").read_text())["search_accuracy"]
    some = [batch for batch, _ in zip(dataset.search, range(4), strict=False)]  # the test split stays untouched
    # 2,000 of the 5,000 images: three standard errors of a share of about 0.946 are 0.015.
    assert accuracy(model, some, bf16=False) == pytest.approx(said, abs=0.015)
