"""What every technique must do; see `autoprune.techniques.base.Technique`."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.criteria.registry import criterion_of
from autoprune.graph import analyse
from autoprune.models.modes import in_mode
from autoprune.models.outputs import output_of
from autoprune.space import KINDS, Policy, SearchSpace, SpaceConstraints
from autoprune.techniques.apply import apply
from autoprune.techniques.base import Calibration, Technique
from autoprune.techniques.registry import TECHNIQUES
from autoprune.techniques.space import space_of
from autoprune.techniques.stack import Stack
from autoprune.testing.kind import check_kind

__all__ = [
    "check_constraint",
    "check_decisions",
    "check_dense_changes_nothing",
    "check_roads_agree",
    "check_technique",
]


def check_technique(
    technique: Technique[Any],
    model: nn.Module,
    example: Tensor,
    batches: Iterable[Any] = (),
    *,
    limits: SpaceConstraints | None = None,
    policies: int = 3,
) -> None:
    """A technique keeps its contract on one network.

    Args:
        technique: The technique.
        model: A dense network on the CPU that it can do something to.
        example: What the network takes, (1, ...).
        batches: (images, labels) for a technique that learns from data.
        limits: What is wanted of the search space.
        policies: Random policies that are tried.

    Raises:
        AssertionError: If it does not; the message names the promise.
    """
    with _registered(technique):
        analysis = analyse(model, example)
        space = space_of(analysis, limits, techniques=[technique])
        check_decisions(technique, space)
        before = _state(model)
        unfitted = Stack((technique,), analysis, space)
        unfitted.apply(model, space.random(0).choices)  # before the dense network is trained, a run tries its forward
        stack = unfitted.fit(model, Calibration(criterion_of("l1"), tuple(batches)))
        check_dense_changes_nothing(stack, model, example)
        for seed in range(policies):
            choices = space.complete(space.random(seed).choices)
            check_roads_agree(stack, model, example, choices)
            check_constraint(stack, model, example, choices)
        assert _same(before, _state(model)), f"{technique.name}: the dense network was changed; work on a copy of it"


def check_decisions(technique: Technique[Any], space: SearchSpace) -> None:
    """There are decisions, of the technique's own kinds, whose last option is whole."""
    name = technique.name
    assert len(space), f"{name}: nothing is offered for this network ({dict(space.frozen)}); try another one"
    own = {kind.name for kind in technique.kinds}
    for kind in technique.kinds:
        check_kind(kind)
        assert kind.technique == name, f"the kind {kind.name!r} says technique {kind.technique!r}, not {name!r}"
        assert kind.stage == technique.stage, f"the kind {kind.name!r} and the technique {name!r} differ in their stage"
    for decision in space.decisions:
        assert decision.kind in own, f"{name}: {decision.name!r} is of the kind {decision.kind!r}, not among {own}"
        assert decision.options[-1] == decision.width, f"{name}: the last option of {decision.name!r} is not whole"
        assert list(decision.options) == sorted(set(decision.options)), f"{name}: {decision.name!r} does not ascend"
    assert any(len(d.options) > 1 for d in space.decisions), f"{name}: no decision has a choice"


def check_dense_changes_nothing(stack: Stack, model: nn.Module, example: Tensor) -> None:
    """The policy that keeps everything gives the dense network's outputs, bit for bit."""
    same = _outputs(stack.apply(model, stack.space.dense), example)
    name = stack.techniques[-1].name
    assert torch.equal(same, _outputs(model, example)), f"{name}: a policy that keeps everything changes the outputs"


def check_roads_agree(stack: Stack, model: nn.Module, example: Tensor, choices: Mapping[str, int]) -> None:
    """`apply`, a candidate of the search, and the policy read back from its file give the same outputs."""
    name = stack.techniques[-1].name
    before = _state(model)
    applied = _outputs(stack.apply(model, choices), example)
    assert _same(before, _state(model)), f"{name}: apply changed the network that it was given; work on a copy of it"
    candidates = stack.candidates(model)
    candidates.select(stack.space.dense)  # a candidate must not depend on the one before
    selected = _outputs(candidates.select(choices), example)
    assert torch.allclose(selected, applied, atol=1e-5), f"{name}: a candidate is another network than apply gives"
    again = _reloaded(stack.policy(choices))
    read = _outputs(apply(model, again, example), example)
    assert torch.equal(read, applied), f"{name}: its policy read back from the file gives another network"


def check_constraint(stack: Stack, model: nn.Module, example: Tensor, choices: Mapping[str, int]) -> None:
    """After a step of stochastic gradient descent and its projection, not even momentum moves a weight away again."""
    network = copy.deepcopy(stack.apply(model, choices)).requires_grad_(True).train()
    constraint = stack.constraint(network, choices)
    if constraint is None:
        return
    name = stack.techniques[-1].name
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        loss = output_of(network(torch.cat([example, example + 1.0]))).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    constraint.project(network, optimizer)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for what in ("is not idempotent", "leaves momentum that breaks it in the next step"):
        before = _state(network)
        constraint.project(network, optimizer)
        assert _same(before, _state(network)), f"{name}: its training constraint {what}"
        optimizer.step()  # by momentum alone


def _reloaded(policy: Policy) -> Policy:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.json"
        policy.save(path)
        again = Policy.load(path)
    assert again == policy, "the policy's file does not hold all of the policy"
    return again


@contextmanager
def _registered(technique: Technique[Any]) -> Iterator[None]:
    """The technique's name and kinds are known meanwhile, as a run makes them known."""
    new = technique.name not in TECHNIQUES
    kinds = [kind for kind in technique.kinds if kind.name not in KINDS]
    if new:
        TECHNIQUES.register(technique.name, type(technique))
    for kind in kinds:
        KINDS.register(kind.name, kind)
    try:
        yield
    finally:
        if new:
            TECHNIQUES.unregister(technique.name)
        for kind in kinds:
            KINDS.unregister(kind.name)


def _outputs(model: nn.Module, example: Tensor) -> Tensor:
    with in_mode(model), torch.no_grad():
        return output_of(model(example))


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())
