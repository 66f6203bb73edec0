"""`sparsify`: every recipe keeps its pattern exactly; a run rebuilds what it saved; wrong input gets one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import autoprune
from autoprune.errors import InputError
from autoprune.masks.parsing import pattern_of
from autoprune.masks.planes import PLAIN

SHAPE = (1, 6, 6)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)
    )


def loader(count: int, seed: int) -> DataLoader[Any]:
    draw = torch.Generator().manual_seed(seed)
    images = torch.randn(count, *SHAPE, generator=draw)
    return DataLoader(TensorDataset(images, (images.mean((1, 2, 3)) > 0).long()), batch_size=16)


def sparsified(run: Path | None, **settings: Any) -> autoprune.Result:
    return autoprune.sparsify(
        network(),
        train=loader(96, 1),
        search=loader(64, 2),
        test=loader(64, 3),
        example_input=torch.zeros(1, *SHAPE),
        run=run,
        **{"target": "torch", "timing": "quick", "finetune_epochs": 2, "seed": 0, **settings},
    )


def largest_group(weight: Tensor, m: int) -> int:
    """Most weights other than zero among m neighbours along the inputs."""
    along = weight.flatten(2).movedim(1, 2) if weight.ndim > 2 else weight
    return int((along.reshape(-1, m) != 0).sum(1).max())


@pytest.mark.parametrize("recipe", ["one-shot", "asp", "gradual", "sr-ste", "regularised"])
def test_every_recipe_leaves_the_pattern_in_every_group(recipe: str, tmp_path: Path) -> None:
    model = sparsified(tmp_path / "run", recipe=recipe).model
    assert largest_group(model[3].weight, 4) == 2
    assert largest_group(model[6].weight, 4) == 2
    assert (model[0].weight != 0).all()  # one input: no group of four


def keeps(model: nn.Module, policy: Any, pattern: str) -> None:
    """Every weight that has a mask is of the pattern."""
    masked, wanted = policy.further[0].payload["masks"], pattern_of(pattern)
    assert masked
    for name in masked:
        planes = PLAIN.of(model.get_parameter(name))
        assert wanted.fault(planes) is None
        assert 0 < int((planes != 0).sum()) < planes.numel()


@pytest.mark.parametrize("pattern", ["column:2:0.5", "2:4/1:2", "kernel:0.5", "filter:0.5", "vector:4:0.5"])
def test_patterns_of_accelerators_are_masked_without_data(pattern: str) -> None:
    result = autoprune.sparsify(network(), pattern=pattern, example_input=torch.zeros(1, *SHAPE))
    keeps(result.model, result.policy, pattern)


def test_banks_are_balanced_after_a_gradual_training(tmp_path: Path) -> None:
    result = sparsified(tmp_path / "run", pattern="bank:4:0.5", recipe="gradual", finetune_epochs=1)
    keeps(result.model, result.policy, "bank:4:0.5")
    again = autoprune.load(tmp_path / "run", model=network())
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), result.model.parameters(), strict=True))


def test_the_run_gives_the_sparse_network_back(tmp_path: Path) -> None:
    result = sparsified(tmp_path / "run", recipe="asp")
    again = autoprune.load(tmp_path / "run", model=network())
    for name, value in result.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_the_report_tells_zeros_parameters_bytes_and_latency_apart(tmp_path: Path) -> None:
    result = sparsified(tmp_path / "run", pattern="1:4")
    sparse, dense = result.report["finetuned"], result.report["dense"]
    counted = sum(int((p == 0).sum()) for p in result.model.parameters())
    assert sparse["zeros"] == counted > 0.5 * (8 * 8 * 9 + 64)
    assert sparse["params"] == dense["params"]
    assert sparse["bytes"] == dense["bytes"]
    assert sparse["latency_ms"] > 0


def test_a_finished_run_is_given_back_without_a_second_training(tmp_path: Path) -> None:
    first = sparsified(tmp_path / "run", recipe="asp")
    again = sparsified(tmp_path / "run", recipe="asp", resume=True)
    assert again.report["finetuned"] == first.report["finetuned"]
    assert torch.equal(again.model[3].weight, first.model[3].weight)


def test_exact_counts_over_all_layers(tmp_path: Path) -> None:
    model = sparsified(tmp_path / "run", pattern="unstructured:0.9-global").model
    weights = [model[0].weight, model[3].weight, model[6].weight]
    total = sum(w.numel() for w in weights)
    assert sum(int((w == 0).sum()) for w in weights) == pytest.approx(0.9 * total, abs=1)


def test_masks_alone_need_no_data() -> None:
    given = network()
    result = autoprune.sparsify(given, example_input=torch.zeros(1, *SHAPE), pattern="2:4")
    for name, value in network().state_dict().items():
        assert torch.equal(given.state_dict()[name], value), name
    assert largest_group(result.model[3].weight, 4) == 2
    assert result.report["sparse"]["zeros"] == 8 * 8 * 9 // 2 + 64 // 2 + 8  # and BatchNorm's own biases


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"pattern": "5:4"}, "5:4"),
        ({"pattern": "many"}, "many"),
        ({"recipe": "magic"}, "magic"),
        ({"criterion": "no_such"}, "no_such"),
    ],
)
def test_wrong_wishes_are_named_in_a_line_or_two(settings: dict[str, Any], word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=word) as caught:
        sparsified(tmp_path / "run", **settings)
    assert str(caught.value).count("\n") < 2
    assert not (tmp_path / "run").exists()


def scaled() -> nn.Module:
    """A network whose important units lie side by side, so that groups of neighbours are the worst there can be."""
    model = network()
    with torch.no_grad():
        for layer in (model[3], model[6]):
            layer.weight[:, ::4] *= 4
            layer.weight[:, 1::4] *= 3
            layer.weight[:, 2::4] *= 3
    return model.eval()


def kept_magnitude(model: nn.Module) -> float:
    return sum(float(layer.weight.detach().abs().sum()) for layer in (model[3], model[6]))


def test_another_order_of_units_keeps_more_and_is_rebuilt_from_the_dense_weights() -> None:
    dense, example = scaled(), torch.randn(4, *SHAPE)
    plain = autoprune.sparsify(dense, example_input=example, pattern="2:4")
    result = autoprune.sparsify(dense, example_input=example, pattern="2:4", permute=True, permute_seconds=5)
    said = result.report["sparsity"]["permutation"]
    assert result.policy.orders and said["complete"] and "orders" not in said
    ratio = kept_magnitude(result.model) / kept_magnitude(plain.model)
    assert ratio == pytest.approx(1 + said["gain"]) and ratio > 1.005
    assert largest_group(result.model[3].weight, 4) == largest_group(result.model[6].weight, 4) == 2
    again = autoprune.apply(scaled(), result.policy, example)
    assert torch.equal(again(example), result.model(example))


def test_a_run_in_another_order_is_resumed_loaded_and_rebuilt(tmp_path: Path) -> None:
    wish: dict[str, Any] = {"recipe": "asp", "permute": True, "permute_seconds": 5, "criterion": "wanda"}
    first = sparsified(tmp_path / "run", **wish)
    again = sparsified(tmp_path / "run", **wish, resume=True)
    loaded = autoprune.load(tmp_path / "run", model=network())
    for name, value in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name
        assert torch.equal(loaded.state_dict()[name], value), name
    assert first.policy.orders and first.report["sparsity"]["permutation"]["gain"] > 0
    dense = network()
    autoprune.models.load_weights(dense, tmp_path / "run" / "dense.safetensors")
    masked = autoprune.apply(dense.eval(), first.policy, torch.zeros(1, *SHAPE))
    saved = autoprune.models.read_weights(tmp_path / "run" / "pruned.safetensors")
    for name, value in masked.state_dict().items():
        assert torch.equal(value, saved[name]), name


def test_units_are_reordered_for_n_of_m_only(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--permute is for patterns of N:M"):
        sparsified(tmp_path / "run", pattern="unstructured:0.9", permute=True)
