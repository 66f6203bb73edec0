"""Windows times weights are the layer's outputs, whatever its stride, padding, dilation and groups."""

import pytest
import torch
from torch import nn

from autoprune.models.windows import drawn_positions, input_rows, output_rows

LAYERS = {
    "linear": (nn.Linear(6, 4, bias=False), (5, 3, 6)),
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1, bias=False), (2, 4, 9)),
    "strided and dilated": (nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2, bias=False), (2, 4, 9, 8)),
    "grouped": (nn.Conv2d(4, 6, (3, 1), groups=2, bias=False), (2, 4, 7, 6)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding="same", bias=False), (2, 4, 5, 6)),
    "reflected": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect", bias=False), (2, 4, 5, 6)),
    "volume": (nn.Conv3d(2, 3, (1, 3, 2), padding=(0, 1, 1), bias=False), (1, 2, 3, 5, 4)),
    "without a batch": (nn.Conv2d(4, 6, 3, bias=False), (4, 5, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_windows_times_weights_are_the_outputs(name):
    layer, shape = LAYERS[name]
    layer = layer.double()
    given = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    groups = getattr(layer, "groups", 1)
    rows = input_rows(layer, given)
    weight = layer.weight.detach().reshape(groups, layer.weight.shape[0] // groups, -1)
    outputs = torch.einsum("rgi,goi->rgo", rows, weight).flatten(1)
    expected = layer(given).detach()
    if not isinstance(layer, nn.Linear):
        channels = expected.ndim - layer.weight.ndim + 1
        expected = expected.movedim(channels, -1)
    assert torch.allclose(outputs, expected.reshape(len(rows), -1))


def test_a_part_of_the_windows_is_drawn_without_replacement():
    layer, given = nn.Linear(1, 1), torch.arange(100.0)[:, None]
    chosen = drawn_positions(30, torch.Generator().manual_seed(1))
    rows = input_rows(layer, given, chosen).flatten().tolist()
    assert len(rows) == 30 == len(set(rows)) and rows != sorted(rows)
    assert input_rows(layer, given, drawn_positions(200, torch.Generator())).shape == (100, 1, 1)


@pytest.mark.parametrize("name", LAYERS)
def test_inputs_and_outputs_are_of_the_same_positions(name):
    layer, shape = LAYERS[name]
    layer, given = layer.double(), torch.randn(shape, dtype=torch.float64)
    chosen = torch.tensor([3, 0, 4])
    rows, groups = input_rows(layer, given, lambda _: chosen), getattr(layer, "groups", 1)
    weight = layer.weight.detach().reshape(groups, layer.weight.shape[0] // groups, -1)
    expected = output_rows(layer, layer(given).detach(), lambda _: chosen)
    assert torch.allclose(torch.einsum("rgi,goi->rgo", rows, weight).flatten(1), expected)


def test_windows_do_not_depend_on_how_the_inputs_lie_in_memory():
    layer, shape = LAYERS["strided and dilated"]
    given = torch.randn(shape)
    lying = given.contiguous(memory_format=torch.channels_last), given.mT.contiguous().mT
    assert all(torch.equal(input_rows(layer, each), input_rows(layer, given)) for each in lying)
