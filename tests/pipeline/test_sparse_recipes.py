"""Every recipe of sparsification leaves its pattern in every group, at any widths; baselines are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.graph import analyse
from autoprune.masks.assigned import Assigned, faults_of, masks_of
from autoprune.masks.base import Pattern
from autoprune.masks.parsing import pattern_of
from autoprune.models.inputs.reader import AS_IT_COMES
from autoprune.pipeline.jobs.sparsify.chosen import ChosenWeights
from autoprune.pipeline.jobs.sparsify.recipes import RECIPES, Pruned, Work, trained_under, with_masks
from autoprune.techniques.sparsity.tensors import weights_of
from autoprune.training import Trainer, TrainSettings
from autoprune.training.constraint import TrainingConstraint
from tests.pipeline.test_sparsify import largest_group, sparsified

PATTERNS = ("2:4", "1:4", "4:8", "2:8", "3:5", "1:2", "2:4-both", "1x4:0.5", "3x2:0.6", "unstructured:0.8")


@dataclass
class Given:
    """What recipes ask of a problem, without run, target or report."""

    model: nn.Module
    recipe_name: str
    batches: list[Any]

    @property
    def task(self) -> Any:
        return self

    @property
    def data(self) -> Any:
        return self

    @property
    def calibration(self) -> list[Any]:
        return self.batches

    @property
    def reader(self) -> Any:
        return AS_IT_COMES

    @property
    def experiment(self) -> Any:
        return self

    @property
    def sparse_recipe(self) -> str:
        return self.recipe_name

    schedule_steps: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Quick(Work):
    """A recipe's trainings for two steps, and nothing on disk; what they leave is counted."""

    seen: list[str] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        return 2

    def finetune(self, epochs: int) -> TrainSettings:
        return TrainSettings(epochs=max(1, epochs), lr=0.05, bf16=False)

    def trained(
        self, network: nn.Module, name: str, settings: TrainSettings, constraint: TrainingConstraint, what: str
    ) -> nn.Module:
        self.seen.append(name)
        Trainer(network, self.problem.task.data.batches, settings, constraint=constraint).run()
        return network

    def better_of(self, name: str, before: Pruned, after: Pruned) -> tuple[Pruned, None]:
        return after, None  # two steps are to be seen, whatever they did to a score


def network(widths: tuple[int, int, int], groups: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    first, second, third = widths[0] * groups, widths[1] * groups, widths[2]
    return nn.Sequential(
        nn.Conv2d(2, first, 1), nn.BatchNorm2d(first), nn.ReLU(), nn.Conv2d(first, second, 2, groups=groups), nn.ReLU(),
        nn.Flatten(), nn.Linear(second, third), nn.ReLU(), nn.Linear(third, 3),
    ).eval()  # fmt: skip


def chosen_of(model: nn.Module, pattern: Pattern, example: Tensor) -> ChosenWeights:
    known = weights_of(analyse(model, example, validate=False)).weights
    offered = {name: Assigned(weight.planes, pattern) for name, weight in known.items()}
    reasons = {name: one.why_not(known[name].sizes) for name, one in offered.items()}
    refused = {name: reason for name, reason in reasons.items() if reason is not None}
    return ChosenWeights(pattern, {name: one for name, one in offered.items() if name not in refused}, refused)


def zeros_of(masks: Mapping[str, Tensor]) -> dict[str, int]:
    return {name: int((~mask).sum()) for name, mask in masks.items()}


def keeps_its_pattern(widths: tuple[int, int, int], groups: int, text: str, recipe: str, seed: int) -> None:
    """One network, one recipe: every group keeps the pattern exactly, whatever the widths are."""
    model, pattern = network(widths, groups, seed), pattern_of(text)
    draw = torch.Generator().manual_seed(seed)
    batches = [(torch.randn(4, 2, 2, 2, generator=draw), torch.arange(4) % 3) for _ in range(2)]
    chosen = chosen_of(model, pattern, batches[0][0])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    work = Quick(cast(Any, Given(model, recipe, batches)), chosen, cast(Any, None))
    masks = masks_of(chosen.assigned, {name: before[name].abs() for name in chosen.assigned})
    copy = network(widths, groups, seed)
    copy.load_state_dict(model.state_dict())
    finished = RECIPES[recipe](work, with_masks(copy, masks))
    weights = {name: p.detach() for name, p in finished.network.named_parameters()}
    assert faults_of(chosen.assigned, weights) == {}
    for name, one in chosen.assigned.items():
        stays = int((weights[name] != 0).sum())
        assert stays <= one.pattern.kept(one.planes.shape(tuple(weights[name].shape))), name
        assert torch.equal(weights[name] * finished.masks[name], weights[name]), name
        if ":" in text and "x" not in text and "u" not in text and "-" not in text:
            assert int((~finished.masks[name]).sum()) == zeros_of(masks)[name], name
    assert all(not bool((weights[name] == 0).any()) for name in chosen.refused)  # these stay dense
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())  # the dense network stays


CASES = (
    st.tuples(*[st.integers(1, 13)] * 3),
    st.integers(1, 2),
    st.sampled_from(PATTERNS),
    st.sampled_from(sorted(RECIPES)),
    st.integers(0, 2**20),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(*CASES)
def test_masks_are_exact_after_every_recipe_at_any_width(widths, groups, text, recipe, seed):
    keeps_its_pattern(widths, groups, text, recipe, seed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(*CASES)
def test_masks_are_exact_after_every_recipe_of_a_thousand_networks(widths, groups, text, recipe, seed):
    keeps_its_pattern(widths, groups, text, recipe, seed)


@pytest.mark.parametrize("recipe", ["asp", "sr-ste"])
def test_a_baseline_is_trained_from_the_dense_weights_under_its_own_masks(recipe):
    model = network((8, 8, 8), 1, 0)
    batches = [(torch.randn(4, 2, 2, 2), torch.arange(4) % 3) for _ in range(2)]
    chosen = chosen_of(model, pattern_of("2:4"), batches[0][0])
    work = Quick(cast(Any, Given(model, recipe, batches)), chosen, cast(Any, None))
    drawn = masks_of(chosen.assigned, {n: torch.rand(p.shape) for n, p in model.named_parameters()})
    trained = trained_under(work, "random", drawn).network
    assert work.seen == ["sparse-random"]
    for name, mask in drawn.items():
        weight, dense = dict(trained.named_parameters())[name], dict(model.named_parameters())[name]
        assert bool((weight[~mask] == 0).all()) and not torch.equal(weight, dense * mask), name


def test_random_masks_are_trained_where_that_is_wanted(tmp_path: Path) -> None:
    result = sparsified(tmp_path / "run", recipe="asp", train_baselines=True)
    baselines = result.report["baselines"]
    assert set(baselines) == {"random", "random_trained"}
    assert baselines["random_trained"]["zeros"] == result.report["sparse"]["zeros"]
    assert largest_group(result.model[3].weight, 4) == 2
    with pytest.raises(InputError, match="one-shot trains nothing"):
        sparsified(tmp_path / "no", train_baselines=True)
