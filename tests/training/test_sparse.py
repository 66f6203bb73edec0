"""Sparse trainings: the gradients are the papers', masks are exact after every step, and a resumed one ends alike."""

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from autoprune.errors import InputError
from autoprune.masks.assigned import Assigned, faults_of, masks_of
from autoprune.masks.n_of_m import NofM
from autoprune.masks.parsing import pattern_of
from autoprune.masks.planes import Planes
from autoprune.training import Trainer, TrainSettings
from autoprune.training.constraint import Masks
from autoprune.training.sparse.regularised import PullToPattern
from autoprune.training.sparse.sr_ste import StraightThrough

PATTERNS = ["2:4", "1:4", "2:4-both", "1x4:0.5", "unstructured:0.7", "unstructured:0.7-global"]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)
    )


def batches_of(seed=1, count=3):
    draw = torch.Generator().manual_seed(seed)
    return [(torch.randn(8, 2, 5, 5, generator=draw), torch.arange(8) % 4) for _ in range(count)]


def assigned(text):
    return {name: Assigned(Planes(), pattern_of(text)) for name in ("3.weight", "6.weight")}


def weights(model, text):
    return {name: dict(model.named_parameters())[name].detach() for name in assigned(text)}


def constraint_of(kind, model, text):
    if kind == "sr-ste":
        return StraightThrough(model, assigned(text))
    return Masks(masks_of(assigned(text), {n: w.abs() for n, w in weights(model, text).items()}))


class Watched(list):
    """Batches that look at the network whenever the next one is asked for: after every step."""

    def __init__(self, batches, look):
        super().__init__(batches)
        self._look = look

    def __iter__(self):
        for batch in super().__iter__():
            self._look()
            yield batch
        self._look()


@pytest.mark.parametrize("text", PATTERNS)
@pytest.mark.parametrize("kind", ["masks", "sr-ste"])
@pytest.mark.parametrize("bf16", [False, True])
def test_masks_are_exact_after_every_step_and_of_the_average(kind, text, bf16):
    model, seen = network(), []
    constraint = constraint_of(kind, model, text)

    def look():
        own = weights(model, text)
        zeros = sum(int((w == 0).sum()) for w in own.values())
        seen.append((faults_of(assigned(text), own), zeros))

    options = TrainSettings(epochs=3, bf16=bf16, ema=0.9, clip=1.0)
    Trainer(model, Watched(batches_of(), look), options, constraint=constraint).run()
    expected = masks_of(assigned(text), {n: torch.rand(w.shape) for n, w in weights(model, text).items()})
    count = sum(int((~mask).sum()) for mask in expected.values())
    look()
    assert len(seen) == 13 and all(not faults and zeros == count for faults, zeros in seen)


def test_the_gradient_of_sr_ste_is_the_papers():
    torch.manual_seed(3)
    layer, x, target = nn.Linear(8, 4, bias=False), torch.randn(5, 8), torch.randn(5, 4)
    dense, rate, decay = layer.weight.detach().clone(), 0.1, 0.3
    mask = NofM(2, 4).mask(dense.abs().unsqueeze(0))[0]
    sparse = (dense * mask).requires_grad_(True)
    (through,) = torch.autograd.grad(functional.mse_loss(x @ sparse.T, target), sparse)
    expected = dense - rate * (through + decay * ~mask * dense)

    constraint = StraightThrough(layer, {"weight": Assigned(Planes(), NofM(2, 4))}, decay)
    optimizer = torch.optim.SGD(layer.parameters(), lr=rate)
    constraint.project(layer, optimizer)
    assert torch.equal(layer.weight, dense * mask)
    functional.mse_loss(layer(x), target).backward()
    constraint.before_step(layer)
    optimizer.step()
    constraint.project(layer, optimizer)
    assert torch.allclose(constraint.state_dict()["weight"], expected, atol=1e-7)
    after = NofM(2, 4).mask(expected.abs().unsqueeze(0))[0]
    assert torch.equal(layer.weight, constraint.state_dict()["weight"] * after)


def test_a_mask_can_change_its_mind_in_sr_ste_and_not_under_a_fixed_mask():
    changed = {}
    for kind in ("sr-ste", "masks"):
        model = network()
        constraint = constraint_of(kind, model, "2:4")
        trainer = Trainer(model, batches_of(), TrainSettings(epochs=6, lr=0.5, bf16=False), constraint=constraint)
        trainer.run(1)
        first = weights(model, "2:4")["3.weight"] != 0
        trainer.run()
        changed[kind] = bool((first != (weights(model, "2:4")["3.weight"] != 0)).any())
    assert changed == {"sr-ste": True, "masks": False}


@pytest.mark.parametrize("kind", ["masks", "sr-ste"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_training_that_is_taken_up_again_ends_alike(kind, optimizer):
    options = TrainSettings(epochs=4, optimizer=optimizer, lr=0.01, bf16=False, ema=0.9)
    whole, half, rest = network(), network(), network()
    Trainer(whole, batches_of(), options, constraint=constraint_of(kind, whole, "2:4")).run()
    first = Trainer(half, batches_of(), options, constraint=constraint_of(kind, half, "2:4"))
    first.run(2)
    state = copy.deepcopy(first.state_dict())
    second = Trainer(rest, batches_of(), options, constraint=constraint_of(kind, rest, "2:4"))
    second.load_state_dict(state)
    second.run()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), rest.parameters(), strict=True))


def test_the_state_of_another_training_is_refused():
    constraint = StraightThrough(network(), assigned("2:4"))
    with pytest.raises(InputError, match="another network"):
        constraint.load_state_dict({"3.weight": torch.zeros(1)})


def test_the_pull_is_on_the_weights_that_would_go_alone():
    torch.manual_seed(3)
    layer = nn.Linear(8, 4)
    layer.weight.grad = torch.zeros(4, 8)
    before = layer.weight.detach().clone()
    PullToPattern({"weight": Assigned(Planes(), NofM(2, 4))}, strength=0.5).before_step(layer)
    mask = NofM(2, 4).mask(before.abs().unsqueeze(0))[0]
    assert torch.equal(layer.weight.grad, 0.5 * before.sign() * ~mask) and torch.equal(layer.weight, before)


def test_the_pull_makes_the_mask_take_less():
    lost = {}
    for strength in (0.0, 0.02):
        model = network()
        pull = PullToPattern(assigned("2:4"), strength)
        Trainer(model, batches_of(), TrainSettings(epochs=20, bf16=False, lr=0.05), constraint=pull).run()
        own = weights(model, "2:4")
        masks = masks_of(assigned("2:4"), {name: weight.abs() for name, weight in own.items()})
        gone = sum(float(w[~masks[n]].square().sum()) for n, w in own.items())
        lost[strength] = gone / sum(float(w.square().sum()) for w in own.values())
    assert lost[0.02] < 0.5 * lost[0.0]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 9), st.integers(1, 30), st.sampled_from(PATTERNS[:2] + PATTERNS[3:5] + ["2:8", "4:8", "3:5"]),
    st.sampled_from(["masks", "sr-ste"]), st.integers(0, 99),
)  # fmt: skip
def test_masks_are_exact_at_any_width_after_steps_of_any_optimiser(outputs, inputs, text, kind, seed):
    torch.manual_seed(seed)
    layer, one = nn.Linear(inputs, outputs), Assigned(Planes(), pattern_of(text))
    before = {"weight": layer.weight.detach().abs()}
    constraint = (
        StraightThrough(layer, {"weight": one}) if kind == "sr-ste" else Masks(masks_of({"weight": one}, before))
    )
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1, weight_decay=0.1)
    constraint.project(layer, optimizer)
    for _ in range(2):
        optimizer.zero_grad()
        layer(torch.randn(4, inputs)).square().sum().backward()
        if kind == "sr-ste":
            constraint.before_step(layer)
        optimizer.step()
        constraint.project(layer, optimizer)
        mask = layer.weight != 0
        assert one.fault(mask) is None
        if one.why_not((outputs, inputs)) is None:
            assert int(mask.sum()) == int(one.mask(before["weight"]).sum()) or "x" in text
        else:
            assert bool(mask.all())
