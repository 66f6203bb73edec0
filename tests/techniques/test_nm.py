"""N:M sparsity in the search space: what is offered, what it costs, and that a policy's file rebuilds it."""

import copy
import functools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from autoprune.cost.macs import macs_cost
from autoprune.cost.params import bytes_cost
from autoprune.criteria.registry import criterion_of
from autoprune.errors import InputError, PolicyMismatchError
from autoprune.graph import analyse
from autoprune.masks.layouts import compressed_layout
from autoprune.masks.n_of_m import NofM
from autoprune.run.experiment import Experiment
from autoprune.space import Policy, SpaceConstraints
from autoprune.techniques.apply import apply
from autoprune.techniques.base import Calibration
from autoprune.techniques.registry import technique_of, techniques_of
from autoprune.techniques.space import space_of
from autoprune.techniques.sparsity.tensors import weights_of
from autoprune.techniques.stack import Stack
from autoprune.testing.technique import check_technique


class Mixed(nn.Module):
    """Every kind of layer that can hold the pattern, and some that cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.narrow = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.wide = nn.Conv2d(8, 14, 3, padding=1)
        self.up = nn.ConvTranspose2d(14, 8, 2, 2)
        self.line = nn.Conv1d(8, 16, 3, padding=1)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.table = nn.Parameter(torch.randn(16, 12) / 4)
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(12, 3))

    def forward(self, x):
        x = self.wide(self.depth(self.narrow(torch.relu(self.stem(x)))).relu())
        x = self.line(torch.relu(self.up(x)).flatten(2)).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = self.second(torch.relu(self.first(x))).mean(dim=1)
        return self.head(x @ self.table)


@pytest.fixture(scope="module")
def mixed():
    torch.manual_seed(0)
    return Mixed().eval(), torch.randn(2, 1, 6, 6)


def stack_of(model, example, *names, **limits):
    analysis, techniques = analyse(model, example), techniques_of(names)
    return Stack(techniques, analysis, space_of(analysis, SpaceConstraints(**limits), techniques=techniques))


def test_every_kind_of_layer_is_offered_once_and_the_others_say_why(mixed):
    space = stack_of(*mixed, "nm").space
    offered = {decision.name: decision.options for decision in space.decisions}
    assert offered == {
        "narrow.weight": (1, 4),
        "wide.weight": (1, 2, 3, 4),
        "up.weight": (1, 2, 3, 4),
        "line.weight": (1, 2, 3, 4),
        "attention.in_proj_weight": (1, 2, 3, 4),
        "attention.out_proj.weight": (1, 2, 3, 4),
        "first.weight": (1, 2, 3, 4),
    }
    assert "a width that can be pruned is called the same" in space.frozen["table"]
    assert "it has one input" in space.frozen["depth.weight"]
    assert "it has one input" in space.frozen["stem.weight"]
    computed = [reason for name, reason in space.frozen.items() if name.startswith("head.")]
    assert len(computed) == 2 and all("_weight_norm reads it" in reason for reason in computed)


def test_a_plain_parameter_whose_width_is_called_the_same_stays_dense():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.table, self.last = nn.Linear(4, 8), nn.Parameter(torch.randn(8, 8)), nn.Linear(8, 2)

        def forward(self, x):
            return self.last(torch.relu(self.first(x)).relu() @ self.table)

    stack = stack_of(Plain().eval(), torch.randn(2, 4), "nm")
    assert "table" in {group.name for group in stack.analysis.groups}
    assert [d.name for d in stack.space.decisions] == ["first.weight", "last.weight"]
    assert "a width that can be pruned is called the same" in stack.space.frozen["table"]
    cost = macs_cost(stack.analysis, stack.space, stack.effects)
    assert cost.least()[0] == 4 * 8 // 4 + 8 * 8 + 8 * 2 // 4


def test_an_embedding_that_is_the_output_layer_too_stays_dense():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.body, self.out = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 20, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, ids):
            return self.out(torch.relu(self.body(self.embed(ids))))

    known = weights_of(analyse(Tied(), torch.arange(6).reshape(1, 6), validate=False))
    assert list(known.weights) == ["body.weight"]
    assert known.refused["embed.weight"].startswith("embedding reads it")


def test_a_grouped_transposed_convolution_stays_dense():
    model = nn.Sequential(nn.ConvTranspose2d(8, 8, 2, groups=2), nn.Conv2d(8, 4, 1))
    known = weights_of(analyse(model, torch.randn(1, 8, 4, 4), validate=False))
    assert list(known.weights) == ["1.weight"] and "transposed" in known.refused["0.weight"]


def test_the_conv1d_of_transformers_is_grouped_along_its_first_dimension():
    conv = pytest.importorskip("transformers.pytorch_utils", reason="transformers is not installed").Conv1D
    torch.manual_seed(0)
    model = nn.Sequential(conv(8, 8), nn.GELU(), conv(6, 8)).eval()
    example = torch.randn(1, 3, 8)
    check_technique(technique_of("nm"), model, example)
    stack = stack_of(model, example, "nm")
    sparse = stack.apply(model, {"0.weight": 2, "2.weight": 1})
    assert (sparse[0].weight.reshape(2, 4, 8) != 0).sum(dim=1).eq(2).all()
    assert (sparse[2].weight.reshape(2, 4, 6) != 0).sum(dim=1).eq(1).all()


@pytest.mark.parametrize("settings", ["nm", "nm@m=8", "nm@m=8+n=2/4", "nm@m=16+n=1"])
def test_the_technique_keeps_its_contract_on_all_of_them(mixed, settings):
    check_technique(technique_of(settings), *mixed)


def multiplications(model, example):
    """Multiply-accumulates with weights that are not zero, counted by what each layer gives; per input."""
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        weight = layer.weight.detach()
        if isinstance(layer, nn.Linear):
            total += output[0].numel() // output.shape[-1] * int((weight != 0).sum())
        else:
            total += output[0, 0].numel() * int((weight != 0).sum())

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    model(example)
    for hook in hooks:
        hook.remove()
    return total


def plain_net():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 10, 3, padding=1), nn.ReLU(), nn.Conv2d(10, 12, 3, stride=2), nn.ReLU(),
        nn.Conv2d(12, 9, 1), nn.Flatten(), nn.Linear(9 * 4, 14), nn.ReLU(), nn.Linear(14, 5),
    ).eval()  # fmt: skip


@functools.lru_cache(maxsize=1)
def plain_stack():
    model, example = plain_net(), torch.randn(1, 1, 6, 6)
    return model, example, stack_of(model, example, "structured", "nm")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_multiply_accumulates_are_priced_exactly_together_with_any_widths(data):
    model, example, stack = plain_stack()
    cost = macs_cost(stack.analysis, stack.space, stack.effects)
    choices = {d.name: data.draw(st.sampled_from(d.options)) for d in stack.space.decisions}
    assert cost.cost(choices) == multiplications(stack.apply(model, choices), example)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_bytes_are_those_of_the_compressed_file_together_with_any_widths(data):
    model, _, stack = plain_stack()
    cost = bytes_cost(stack.analysis, stack.space, stack.effects)
    choices = {d.name: data.draw(st.sampled_from(d.options)) for d in stack.space.decisions}
    small = stack.apply(model, choices)
    held = dict(small.named_parameters())
    try:
        held = compressed_layout(held)[0]
    except InputError:
        assert not any(choices.get(name, 4) < 3 and p.shape[1] > 2 for name, p in held.items())
    written = sum(tensor.numel() * tensor.element_size() for tensor in held.values())
    assert abs(cost.cost(choices) - written) <= sum(name.endswith(":positions") for name in held)


def test_a_policy_with_widths_and_masks_rebuilds_its_network_bit_for_bit(tmp_path):
    model, example = plain_net(), torch.randn(4, 1, 6, 6)
    batches = [(torch.randn(8, 1, 6, 6), torch.randint(0, 5, (8,))) for _ in range(2)]
    for criterion in ("wanda", "taylor", "fisher", "l1", "random"):
        stack = stack_of(model, example, "structured", "nm").fit(model, Calibration(criterion_of(criterion), batches))
        choices = stack.space.random(7).choices
        small = stack.apply(model, choices)
        path = tmp_path / f"{criterion}.json"
        stack.policy(choices).save(path)
        again = apply(model, Policy.load(path), example)
        own, other = small.state_dict(), again.state_dict()
        assert own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)
        candidates = stack.candidates(model)
        candidates.select(stack.space.dense)
        assert torch.equal(candidates.select(choices)(example), small(example))


def test_the_weights_of_an_analysis_are_found_once_and_are_what_a_fresh_analysis_has():
    _, example, stack = plain_stack()
    assert weights_of(stack.analysis) is weights_of(stack.analysis)
    assert weights_of(stack.analysis) == weights_of(copy.copy(stack.analysis))
    assert weights_of(analyse(plain_net(), example)).weights == weights_of(stack.analysis).weights


def test_masks_follow_the_criterion_on_the_units_that_a_cut_leaves():
    model, example = plain_net(), torch.randn(4, 1, 6, 6)
    batches = [(torch.randn(8, 1, 6, 6), torch.randint(0, 5, (8,)))]
    stack = stack_of(model, example, "structured", "nm").fit(model, Calibration(criterion_of("taylor"), batches))
    choices = stack.space.complete(stack.space.dense | {"0": 6, "2": 7, "2.weight": 2})
    small = stack.apply(model, choices)
    kept = stack.policy(choices).kept
    saliency = stack.fitted["nm"].saliencies["2.weight"][kept["2"]][:, kept["0"]]
    flat = saliency.permute(2, 3, 0, 1).reshape(9, 7, 6)
    expected = NofM(2, 4).mask(flat).reshape(3, 3, 7, 6).permute(2, 3, 0, 1)
    assert torch.equal(small[2].weight != 0, expected)
    by_size = NofM(2, 4).mask(model[2].weight[kept["2"]][:, kept["0"]].abs().permute(2, 3, 0, 1).reshape(9, 7, 6))
    assert not torch.equal(by_size, NofM(2, 4).mask(flat))


def test_a_layer_that_a_cut_leaves_too_narrow_is_dense():
    model, example = plain_net(), torch.randn(1, 1, 6, 6)
    stack = stack_of(model, example, "structured", "nm")
    small = stack.apply(model, stack.space.complete(stack.space.dense | {"0": 2, "2.weight": 2}))
    assert small[2].weight.shape[1] == 2 and bool((small[2].weight != 0).all())


def test_skip_cap_and_kinds_are_heeded():
    model, example = plain_net(), torch.randn(1, 1, 6, 6)
    space = stack_of(model, example, "nm", skip=["2", "8.weight"], cap=["4=0.5", "6*=0.1"]).space
    assert {d.name: d.options for d in space.decisions} == {"4.weight": (2, 3, 4)}
    assert space.frozen["2.weight"] == "skipped by '2'" and "cap" in space.frozen["6.weight"]
    assert [d.kind for d in stack_of(model, example, "nm", "structured", kinds=["channels"]).space.decisions] == [
        "channels"
    ] * 4


def test_kinds_bring_their_technique():
    def names(**settings):
        return Experiment(model="resnet20", data="digits", flops="50%", **settings).technique_names

    assert names() == ("structured",)
    assert names(kinds=["channels,nm"]) == ("structured", "nm")
    assert names(kinds=["nm"]) == ("nm",)
    assert names(techniques="structured,nm@m=8", kinds=["channels", "nm"]) == ("structured", "nm@m=8")


@pytest.mark.parametrize(
    ("text", "message"),
    [("nm@m=1", "greater than or equal to 2"), ("nm@n=5", "5 of 4 weights cannot stay"), ("nm@n=0/2", "0 of 4"),
     ("nm@n=two", "integer"), ("nm@k=3", "k:")],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        technique_of(text)


def damaged(policy, **payload):
    part = policy.further[0]
    return policy.model_copy(update={"further": (part.model_copy(update={"payload": payload}),)})


def test_masks_that_do_not_fit_are_refused_with_the_layers_name(mixed):
    model, example = plain_net(), torch.randn(1, 1, 6, 6)
    stack = stack_of(model, example, "nm").fit(model, Calibration(criterion_of("l1")))
    policy = stack.policy(stack.space.uniform(0.5).choices)
    masks = policy.further[0].payload["masks"]
    swapped = masks | {"2.weight": masks["4.weight"]}
    for payload, message in [
        ({"m": 4, "masks": swapped}, "mask of 2.weight does not fit"),
        ({"m": 4, "masks": masks | {"2.weight": "?"}}, "mask of 2.weight does not fit"),
        ({"m": 4, "masks": masks | {"else": "?"}}, "mask of 'else'"),
        ({"m": 4, "masks": 3}, "no packed bits"),
        ({"m": "x", "masks": {}}, "groups are of 'x'"),
        ({"m": 3, "masks": masks | {"2.weight": masks["2.weight"]}}, "keeps 4 of every 3|is not 2:3"),
    ]:
        with pytest.raises(PolicyMismatchError, match=message):
            apply(model, damaged(policy, **payload), example)
    tighter = copy.deepcopy(policy.further[0])
    tighter = tighter.model_copy(update={"choices": dict.fromkeys(tighter.choices, 1)})
    with pytest.raises(PolicyMismatchError, match=r"mask of .* is not 1:4: 2 weights of output 0"):
        apply(model, policy.model_copy(update={"further": (tighter,)}), example)
    with pytest.raises(PolicyMismatchError, match="layer"):
        apply(mixed[0], policy, mixed[1])
