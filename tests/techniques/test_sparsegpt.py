"""SparseGPT: the update is Optimal Brain Surgeon's, errors fall, patterns are exact, and failures are reported."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from autoprune.masks.assigned import Assigned, faults_of
from autoprune.masks.n_of_m import NofM
from autoprune.masks.parsing import pattern_of
from autoprune.masks.planes import Planes
from autoprune.masks.unstructured import Unstructured
from autoprune.models.inputs.example import Example
from autoprune.reconstruction.grids import grid_of_bits
from autoprune.reconstruction.layerwise import prune_layers
from autoprune.reconstruction.sparsegpt import (
    Solved,
    SparseGPT,
    better_rows,
    by_groups,
    by_share,
    fixed_mask,
    rounded_sparsegpt,
    sparsegpt,
)
from autoprune.testing.reconstruction import check_reconstruction


def correlated(rows, inputs, seed=0):
    draw = torch.Generator().manual_seed(seed)
    base = torch.randn(rows, inputs // 2, generator=draw, dtype=torch.float64)
    mixed = base @ torch.randn(inputs // 2, inputs, generator=draw, dtype=torch.float64)
    return mixed + 0.3 * torch.randn(rows, inputs, generator=draw, dtype=torch.float64)


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def test_it_keeps_the_contract_of_a_reconstruction():
    check_reconstruction(SparseGPT())


def test_one_column_less_is_made_up_for_as_well_as_it_can_be():
    """Every weight behind the first column may move, so its removal has a closed form: constrained least squares."""
    x, weight = correlated(300, 6), drawn(3, 6)
    keep = torch.ones(3, 6, dtype=torch.bool)
    keep[:, 0] = False
    found = sparsegpt(weight, x.T @ x, fixed_mask(keep), damping=1e-9)
    expected = torch.linalg.lstsq(x[:, 1:], x @ weight.T).solution.T
    assert torch.allclose(found.weight[:, 1:], expected, atol=1e-4)
    assert not found.weight[:, 0].any()


def test_nothing_behind_the_last_column_can_make_up_for_it():
    x, weight = correlated(300, 6), drawn(3, 6)
    keep = torch.ones(3, 6, dtype=torch.bool)
    keep[:, 5] = False
    found = sparsegpt(weight, x.T @ x, fixed_mask(keep))
    assert torch.allclose(found.weight, weight * keep, atol=1e-6)


@pytest.mark.parametrize("columns", [16, 200, 300])
def test_blocks_of_columns_change_nothing(columns):
    """The lazy update behind a block gives what going through all columns at once gives."""
    x, weight = correlated(600, columns), drawn(4, columns)
    keep = torch.rand(4, columns, generator=torch.Generator().manual_seed(1)) > 0.5
    in_blocks = sparsegpt(weight, x.T @ x, fixed_mask(keep))
    at_once = sparsegpt(weight, x.T @ x, [(0, columns, lambda left, _: keep)])
    assert torch.allclose(in_blocks.weight, at_once.weight, atol=1e-6)


def error(x, weight, other):
    return float((x @ (weight - other).T).square().sum())


@pytest.mark.parametrize("text", ["2:4", "1:4", "4:8", "unstructured:0.5"])
def test_the_error_of_the_outputs_is_less_than_that_of_masks_alone(text):
    x = (
        correlated(400, 128)
        + torch.randn(400, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(9)) * 5
    )
    weight, pattern = drawn(8, 128), pattern_of(text)
    gram = x.T @ x
    blocks = by_share(pattern, 8, 128) if isinstance(pattern, Unstructured) else by_groups(pattern, 128, 1)
    found = sparsegpt(weight, gram, blocks)
    wanda = pattern.mask((weight.abs() * gram.diagonal().sqrt()).unsqueeze(0))[0]
    magnitude = pattern.mask(weight.abs().unsqueeze(0))[0]
    errors = [error(x, weight, w) for w in (found.weight, weight * wanda, weight * magnitude)]
    assert errors[0] < 0.9 * min(errors[1:])
    assert int(found.mask.sum()) == pattern.kept((1, 8, 128)) and pattern.fault(found.mask.unsqueeze(0)) is None


def test_the_mask_is_chosen_by_the_weights_as_they_are_by_then():
    x, weight = correlated(400, 32), drawn(8, 32)
    found = sparsegpt(weight, x.T @ x, by_groups(NofM(2, 4), 32, 1))
    first = sparsegpt(weight, x.T @ x, fixed_mask(torch.ones(8, 32, dtype=torch.bool)))
    assert torch.allclose(first.weight, weight, atol=1e-6)
    damped = x.T @ x
    damped += 0.01 * damped.diagonal().mean() * torch.eye(32)
    upper = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    at_once = NofM(2, 4).mask((weight / upper.diagonal()).square().unsqueeze(0))[0]
    assert torch.equal(found.mask[:, :4], at_once[:, :4]) and not torch.equal(found.mask, at_once)


def test_rows_that_a_mask_alone_serves_better_get_the_mask():
    x, weight = correlated(400, 32), drawn(8, 32)
    gram, mask = x.T @ x, NofM(2, 4).mask(weight.abs().unsqueeze(0))[0]
    found = sparsegpt(weight, gram, by_groups(NofM(2, 4), 32, 1))
    spoiled = Solved(torch.cat([100 * found.weight[:4], found.weight[4:]]), found.mask, found.damping)
    mixed = better_rows(weight, gram, spoiled, mask)
    assert torch.equal(mixed.weight[:4], (weight * mask)[:4]) and torch.equal(mixed.mask[:4], mask[:4])
    for row in range(8):
        own, masked = weight[row : row + 1], (weight * mask)[row : row + 1]
        others = error(x, own, spoiled.weight[row : row + 1]), error(x, own, masked)
        assert error(x, own, mixed.weight[row : row + 1]) <= min(others) + 1e-6
    together = better_rows(weight, gram, spoiled, mask, together=True)
    assert torch.equal(together.weight, weight * mask)


def test_few_samples_and_dead_inputs_are_no_failure():
    x = correlated(5, 32)
    x[:, 3] = 0
    weight = drawn(8, 32)
    found = sparsegpt(weight, x.T @ x, by_groups(NofM(2, 4), 32, 1))
    assert torch.isfinite(found.weight).all() and not found.weight[:, 3].any()
    assert NofM(2, 4).fault(found.mask.unsqueeze(0)) is None


def test_damping_is_raised_until_the_factorisation_holds():
    gram = torch.eye(8, dtype=torch.float64)
    gram[0, 1] = gram[1, 0] = 1.05  # indefinite
    found = sparsegpt(drawn(2, 8), gram, by_groups(NofM(2, 4), 8, 1))
    assert found.damping == pytest.approx(0.1)
    assert sparsegpt(drawn(2, 8).float(), torch.full((8, 8), torch.inf), by_groups(NofM(2, 4), 8, 1)) is None


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.grouped = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=2, padding=1)
        self.attention, self.head = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 7)

    def forward(self, x):
        x = torch.relu(self.grouped(torch.relu(self.first(x)))).flatten(2).transpose(1, 2)
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(dim=1))


NAMES = ("first.weight", "grouped.weight", "attention.in_proj_weight", "attention.out_proj.weight", "head.weight")


@pytest.mark.parametrize("text", ["2:4", "2:3", "1x4:0.5", "unstructured:0.6", "unstructured:0.6-global"])
def test_a_whole_network_is_pruned_in_one_pass(text):
    torch.manual_seed(0)
    model, x = Net(), torch.randn(64, 3, 6, 6)
    dense = copy.deepcopy(model)
    assigned = {name: Assigned(Planes(), pattern_of(text)) for name in NAMES}
    pruned = prune_layers(model, Example((x,), {}), assigned)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    assert faults_of(assigned, {name: parameters[name] for name in NAMES}) == {}
    for name in NAMES:
        assert not parameters[name][~pruned.masks[name]].any()
        one = assigned[name]
        if one.why_not(tuple(parameters[name].shape)) is None and "x" not in text and "global" not in text:
            assert int(pruned.masks[name].sum()) == one.pattern.kept(one.planes.shape(parameters[name].shape))
    assert not {"first.weight", "attention.in_proj_weight", "attention.out_proj.weight"} & pruned.notes.keys()
    # the layer's own outputs are closer to the dense ones than with magnitude masks
    own = functional.conv2d(x, dense.first.weight)
    plain = dense.first.weight.detach() * assigned["first.weight"].mask(dense.first.weight.detach().abs())
    if "global" not in text and text != "1x4:0.5":
        errors = [(functional.conv2d(x, w) - own).square().sum() for w in (model.first.weight, plain)]
        assert errors[0] < errors[1]


class Layers(nn.Module):
    """Attention of two heads as linear layers, with the weights of the attention that is given."""

    def __init__(self, given):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(size, 16) for size in (16, given.kdim, given.vdim, 16))
        weights = given.in_proj_weight
        for at, (one, leaf) in enumerate(zip((self.q, self.k, self.v), "qkv", strict=True)):
            own = getattr(given, f"{leaf}_proj_weight") if weights is None else weights.chunk(3)[at]
            one.weight.data.copy_(own)
            one.bias.data.copy_(given.in_proj_bias.chunk(3)[at])
        self.out.load_state_dict(given.out_proj.state_dict())

    def forward(self, x, y, z):
        heads = [
            layer(each).unflatten(-1, (2, 8)).transpose(1, 2)
            for layer, each in zip((self.q, self.k, self.v), (x, y, z), strict=True)
        ]
        return self.out(functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


class Own(nn.MultiheadAttention):
    """With a forward of its own, whose inputs are not what the projections are multiplied with."""

    def forward(self, x):
        return super().forward(x + 1, x, x, need_weights=False)[0]


def test_attention_with_a_forward_of_its_own_is_masked_and_keeps_its_values():
    torch.manual_seed(0)
    model = nn.Sequential(Own(16, 2, batch_first=True), nn.Linear(16, 4))
    before = model[0].in_proj_weight.detach().clone()
    assigned = {"0.in_proj_weight": Assigned(Planes(), pattern_of("2:4"))}
    pruned = prune_layers(model, Example((torch.randn(8, 5, 16),), {}), assigned)
    assert torch.equal(model[0].in_proj_weight, before * pruned.masks["0.in_proj_weight"])
    assert "masked by magnitude" in pruned.notes["0.in_proj_weight"]


@pytest.mark.parametrize("text", ["2:4", "unstructured:0.5"])
@pytest.mark.parametrize(("kdim", "vdim"), [(16, 16), (8, 12)])
def test_projections_of_attention_are_pruned_as_the_layers_that_they_are(text, kdim, vdim):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(16, 2, kdim=kdim, vdim=vdim, batch_first=True).eval()
    nn.init.normal_(attention.in_proj_bias)
    layers = Layers(attention)
    given = torch.randn(40, 5, 16), torch.randn(40, 6, kdim), torch.randn(40, 6, vdim)
    separate = attention.in_proj_weight is None
    names = [*(f"{leaf}_proj_weight" for leaf in "qkv")] if separate else ["in_proj_weight"]
    own, theirs = [*names, "out_proj.weight"], [f"{leaf}.weight" for leaf in ("q", "k", "v", "out")]
    if text != "2:4" and not separate:
        theirs, own = theirs[3:], own[1:]  # a share is one of all three together
    before = attention.out_proj
    masks = prune_layers(attention, Example(given, {}), {n: Assigned(Planes(), pattern_of(text)) for n in own}).masks
    wanted = prune_layers(layers, Example(given, {}), {n: Assigned(Planes(), pattern_of(text)) for n in theirs}).masks
    assert attention.out_proj is before
    flat = [torch.cat([found[name].flatten() for name in these]) for found, these in ((masks, own), (wanted, theirs))]
    assert torch.equal(*flat)
    torch.testing.assert_close(attention(*given)[0], layers(*given))


@pytest.mark.parametrize(("bits", "kind"), [(8, "Q8_0"), (4, "Q4_0")])
@pytest.mark.parametrize("pattern", [NofM(2, 4), Unstructured(0.5)], ids=["2:4", "50%"])
def test_rounding_in_the_same_pass_gives_numbers_that_a_file_keeps(bits, kind, pattern):
    gguf = pytest.importorskip("gguf")
    x, weight = correlated(400, 64).float(), drawn(8, 64).float()
    blocks = by_groups(pattern, 64, 1) if isinstance(pattern, NofM) else by_share(pattern, 8, 64)
    found = rounded_sparsegpt(weight, x.T @ x, blocks, grid_of_bits(bits))
    assert torch.equal(found.mask, sparsegpt(weight, x.T @ x, blocks).mask)
    assert not found.weight[~found.mask].any() and found.mask.float().mean() == pytest.approx(0.5)
    stored = gguf.GGMLQuantizationType[kind]
    again = gguf.quants.dequantize(gguf.quants.quantize(found.weight.numpy(), stored), stored)
    assert torch.allclose(torch.from_numpy(again), found.weight, rtol=2e-3, atol=1e-6)  # scales in half precision
    block = found.weight[:, :32]
    scale = grid_of_bits(bits).block(block).scale.unsqueeze(1)
    assert torch.allclose(block / scale, (block / scale).round(), atol=1e-3)


@pytest.mark.parametrize(("bits", "factor"), [(8, 1.05), (4, 1.0)])
def test_what_rounding_takes_is_made_up_for_by_the_columns_behind(bits, factor):
    """At 4 bits outputs move less than where pruned weights are rounded afterwards; 8 bits take next to nothing."""
    x, weight = correlated(400, 64), drawn(8, 64)
    grid, blocks = grid_of_bits(bits), by_groups(NofM(2, 4), 64, 1)
    together = rounded_sparsegpt(weight, x.T @ x, blocks, grid).weight
    pruned = sparsegpt(weight, x.T @ x, blocks).weight
    after = pruned.clone()
    for first in (0, 32):
        block = grid.block(pruned[:, first : first + 32])
        for number in range(32):
            after[:, first + number] = block.rounded(pruned[:, first + number], number)

    def moved(new):
        return float((x @ (new - weight).T).square().sum())

    assert moved(together) < factor * moved(after)


def test_rows_without_a_weight_stay_zero_on_a_grid():
    x = correlated(200, 32)
    keep = torch.zeros(4, 32, dtype=torch.bool)
    keep[1:] = True
    found = rounded_sparsegpt(drawn(4, 32), x.T @ x, fixed_mask(keep), grid_of_bits(4))
    assert not found.weight[0].any() and bool(torch.isfinite(found.weight).all())
