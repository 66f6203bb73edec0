"""Layers read off traced networks: the matrix times its vectors is what the layer computes."""

import numpy as np
import pytest
import torch
from torch import nn

from autoprune.hardware.accelerators import workload_of


class Net(nn.Module):
    """Convolutions of every form, attention, and operators that are not priced."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 12, (3, 1), groups=4, padding="same", dilation=(2, 1))
        self.wide = nn.Conv1d(12, 6, 5, padding=4, dilation=2)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = self.grouped(x).flatten(2)
        x = self.wide(x).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.head.weight.new_ones(6) * x.mean(1))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def found(net, images):
    return workload_of(net, images[:1], images, vectors=10_000, images=2)


def outputs_of(net, images, name):
    made = []
    handle = net.get_submodule(name).register_forward_hook(lambda _, __, output: made.append(output))
    with torch.no_grad():
        net(images)
    handle.remove()
    return made[0]


@pytest.mark.parametrize("name", ["stem", "grouped", "wide", "head"])
def test_a_matrix_times_its_vectors_is_what_the_layer_computes(net, images, found, name):
    work, layer = found[name], net.get_submodule(name)
    weight = layer.weight.detach().flatten(2).transpose(1, 2) if layer.weight.dim() > 2 else layer.weight.detach()
    matrix = weight.reshape(len(weight), -1)
    parts = matrix.chunk(work.groups)
    vectors = torch.from_numpy(work.activations).chunk(work.groups, dim=1)
    computed = torch.cat([v @ p.T for v, p in zip(vectors, parts, strict=True)], dim=1)
    bias = 0 if layer.bias is None else layer.bias.detach()
    expected = outputs_of(net, images[:2], name)
    channels = 1 if expected.dim() > 2 else -1
    expected = expected.movedim(channels, -1).reshape(-1, len(weight))
    torch.testing.assert_close(computed + bias, expected, atol=1e-5, rtol=1e-4)
    assert len(work.activations) == 2 * work.positions


@pytest.mark.parametrize(
    "layer",
    [
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
        nn.ConvTranspose2d(4, 6, (3, 2), groups=2, dilation=(2, 1), bias=False),
        nn.ConvTranspose1d(4, 6, 4, stride=3),
    ],
    ids=str,
)
def test_a_transposed_convolution_is_one_over_spread_inputs(layer):
    shape = (1, 4, 5, 7) if isinstance(layer, nn.ConvTranspose2d) else (1, 4, 9)
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        layer.weight[0] = 0.0
        expected = layer(image)
        expected = expected if layer.bias is None else expected - layer.bias.reshape(1, -1, *[1] * (image.dim() - 2))
    work = workload_of(nn.Sequential(layer).eval(), image, vectors=10_000).works[0]
    assert work.positions == len(work.activations) == expected[0, 0].numel()
    # The mask has the weights' zeros, and its rows times the sample give as many terms as the outputs have.
    terms = nn.functional.conv_transpose2d if image.dim() == 4 else nn.functional.conv_transpose1d
    settings = {k: getattr(layer, k) for k in ("stride", "padding", "output_padding", "groups", "dilation")}
    counted = terms((image != 0).float(), (layer.weight != 0).float(), **settings).detach()[0]
    parts = np.split(work.active.astype(np.float32), work.groups, axis=1)
    rows = np.split(work.mask.astype(np.float32), work.groups)
    found = np.concatenate([row @ part.T for row, part in zip(rows, parts, strict=True)])
    np.testing.assert_array_equal(found, counted.flatten(1).numpy())


def test_what_multiplies_with_weights_and_is_not_priced_says_so():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.mix = nn.LSTM(4, 3, batch_first=True), nn.Parameter(torch.ones(2, 3, 3))

        def forward(self, x):
            y = self.cell(x)[0]
            return torch.einsum("bti,kij->btkj", y, self.mix).sum() + (y @ y.transpose(1, 2)).sum()

    load = workload_of(Recurrent().eval(), torch.randn(1, 5, 4))
    multiplying = {each.operator for each in load.free if each.multiplies}
    assert multiplying == {"lstm", "einsum"} and not load.works


def test_attention_is_its_projections_and_the_rest_is_named(found):
    assert [work.name for work in found] == [
        "stem", "grouped", "wide", "attention.in_proj_weight", "attention.out_proj", "head",
    ]  # fmt: skip
    free = {each.operator: each.reason for each in found.free}
    assert {"relu", "add", "mean", "scaled_dot_product_attention"} <= set(free)
    assert free["batch_norm"].startswith("folded") and found["stem"].bias and found["grouped"].bias


def test_masks_are_the_zeros_of_the_weights(net, images):
    with torch.no_grad():
        kept = net.stem.weight.clone()
        net.stem.weight[:, :, 0, 1] = 0
        work = workload_of(net, images[:1])["stem"]
        net.stem.weight.copy_(kept)
    expected = np.ones((8, 9, 2), dtype=np.bool_)
    expected[:, 1] = False  # kernel positions before channels
    assert (work.mask == expected.reshape(8, 18)).all()
    assert work.weight == "stem.weight" and "1 image of the example" in work.source


def test_a_call_of_several_images_has_the_positions_of_all(net, images, found):
    assert workload_of(net, images)["stem"].positions == 3 * found["stem"].positions
