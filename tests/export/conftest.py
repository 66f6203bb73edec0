"""A finished run of a network that a user's module makes, put together without running the pipeline."""

from types import SimpleNamespace

import pytest
import torch
import yaml

import autoprune
from autoprune.models import save_weights
from autoprune.run.experiment import Experiment
from tests.support.nets.exported import stirred, tiny


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def parts():
    """Dense network, its policy (kept units named), the raw cut, and a fine-tuned network of that shape."""
    dense, example = stirred(tiny(), 1), torch.zeros(1, 3, 8, 8)
    space = autoprune.search_space(dense, example)
    about = {
        **space.model,
        "name": "tests.support.nets.exported:tiny",
        "arguments": {"in_channels": 3},
        "example": [1, 3, 8, 8],
    }
    choices = {"conv1": 5, "conv2": 7}
    kept = {"conv1": [0, 2, 3, 5, 7], "conv2": [0, 1, 4, 6, 8, 10, 11]}
    policy = space.policy(choices, kept=kept).model_copy(update={"model": about})
    pruned = autoprune.apply(dense, policy, example)
    finetuned = stirred(autoprune.apply(dense, policy, example), 2, 0.1)
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    return SimpleNamespace(dense=dense, policy=policy, pruned=pruned, finetuned=finetuned, images=images)


@pytest.fixture
def run(parts, tmp_path):
    """The run's folder."""
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    settings = Experiment(model="tests.support.nets.exported:tiny", data="digits").model_dump(mode="json")
    (folder / "experiment.yaml").write_text(yaml.safe_dump({"settings": settings, "environment": {}}))
    parts.policy.save(folder / "policy.json")
    for name in ("dense", "pruned", "finetuned"):
        save_weights(getattr(parts, name).state_dict(), folder / f"{name}.safetensors")
    return folder
