"""The compressed 2:4 layout: lossless, as small as promised, and nothing else than 2:4 gets in."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.sparse._semi_structured_conversions import (
    sparse_semi_structured_from_dense_cutlass,
    sparse_semi_structured_to_dense_cutlass,
)

from autoprune.errors import InputError
from autoprune.masks.assigned import Assigned
from autoprune.masks.compressed import DTYPES, TWO_OF_FOUR, Compressed, compress, decompress, is_two_of_four
from autoprune.masks.parsing import pattern_of
from autoprune.masks.planes import PLAIN, Planes
from autoprune.models.weights import read_weights, save_weights


def two_of_four(*shape: int, dtype: torch.dtype = torch.float16, planes: Planes = PLAIN, seed: int = 0):
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    weight = drawn.mul(20).to(dtype) if dtype is torch.int8 else drawn.to(dtype)
    return weight * Assigned(planes, TWO_OF_FOUR).mask(drawn.abs())


@pytest.mark.parametrize(
    ("dtype", "share"),
    [(torch.float16, 9 / 16), (torch.bfloat16, 9 / 16), (torch.int8, 10 / 16), (torch.float32, 17 / 32)],
)
def test_it_takes_the_promised_share_of_the_bytes(dtype, share):
    weight = two_of_four(64, 128, dtype=dtype)
    assert compress(weight).bytes == share * weight.numel() * weight.element_size()


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 13)),
    kernel=st.sampled_from([(), (3,), (2, 3)]),
    dtype=st.sampled_from(DTYPES),
    transposed=st.booleans(),
    thin=st.floats(0, 1),
    seed=st.integers(0, 2**20),
)
def test_every_weight_comes_back_bit_for_bit(shape, kernel, dtype, transposed, thin, seed):
    planes = Planes(inputs=0, outputs=1) if transposed else PLAIN
    weight = two_of_four(*shape, *kernel, dtype=dtype, planes=planes, seed=seed)
    fewer = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) < thin
    weight = weight * ~fewer  # groups with one value, and with none
    again = decompress(compress(weight, planes))
    assert again.dtype == weight.dtype
    assert torch.equal(again, weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8])
@pytest.mark.parametrize("shape", [(32, 64), (64, 192), (128, 128)])
def test_torchs_conversion_keeps_the_same_values_in_the_same_bytes(dtype, shape):
    weight = two_of_four(*shape, dtype=dtype)
    if dtype is torch.int8 and shape[1] % 128:
        weight = two_of_four(shape[0], 128, dtype=dtype)
    ours = compress(weight)
    values, positions = sparse_semi_structured_from_dense_cutlass(weight)
    kept_two = (weight.reshape(len(weight), -1, 4) != 0).sum(
        2
    ) == 2  # which of several zeros is held is nobody's matter
    groups = (len(weight), -1, 2)
    assert torch.equal(ours.values[0].reshape(groups)[kept_two], values.reshape(groups)[kept_two])
    assert ours.bytes == sum(t.numel() * t.element_size() for t in (values, positions))
    assert torch.equal(decompress(ours), sparse_semi_structured_to_dense_cutlass(values, positions))


def test_a_weight_that_is_not_two_of_four_is_refused_with_the_place():
    weight = two_of_four(8, 16)
    weight[5, 8:11] = 1
    with pytest.raises(InputError, match=r"not 2:4: [34] weights of output 5, inputs 8 to 11, are not zero") as raised:
        compress(weight)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("weight", "word"),
    [
        (torch.zeros(8, 8, dtype=torch.float64), "float64 cannot be written compressed"),
        (torch.zeros(8, 8, dtype=torch.int64), "int64 cannot be written compressed"),
        (torch.zeros(8), "no inputs to group"),
    ],
)
def test_dtypes_and_shapes_that_cannot_are_named(weight, word):
    with pytest.raises(InputError, match=word):
        compress(weight)


def test_damaged_positions_are_seen():
    found = compress(two_of_four(4, 8))
    for positions in (found.positions[:-1], torch.zeros_like(found.positions), found.positions.int()):
        with pytest.raises(InputError, match="positions"):
            decompress(Compressed(found.values, positions, found.sizes))
    with pytest.raises(InputError, match="values"):
        decompress(Compressed(found.values, found.positions, (4, 12)))


@pytest.mark.parametrize(
    ("pattern", "answer"),
    [
        *((pattern, True) for pattern in ("2:4", "1:4", "1:2", "2:8", "2:4-both")),
        *((pattern, False) for pattern in ("3:4", "4:8", "1:3", "4x4", "unstructured:0.9")),
    ],
)
def test_which_patterns_are_two_of_four_as_well(pattern, answer):
    assert is_two_of_four(pattern_of(pattern)) is answer


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "1:2", "2:8", "2:4-both"])
def test_masks_of_these_patterns_can_be_compressed(pattern):
    for seed in range(5):
        drawn = torch.randn(8, 24, generator=torch.Generator().manual_seed(seed))
        weight = drawn * Assigned(PLAIN, pattern_of(pattern)).mask(drawn.abs())
        assert torch.equal(decompress(compress(weight)), weight)


def test_a_file_is_read_back_with_its_zeros_and_says_which_weights_are_compressed(tmp_path):
    weights = {
        "conv.weight": two_of_four(16, 32, 3, 3, dtype=torch.float32),
        "attention.weight": two_of_four(48, 16, dtype=torch.float16, planes=Planes(inputs=0, outputs=1)),
        "head.weight": torch.randn(4, 16),
        "head.bias": torch.zeros(4),
    }
    save_weights(weights, tmp_path / "dense.safetensors")
    save_weights(weights, tmp_path / "small.safetensors", "compressed")
    again = read_weights(tmp_path / "small.safetensors")
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    names = set(safetensors.torch.load_file(tmp_path / "small.safetensors"))
    assert {"conv.weight:values", "conv.weight:positions", "head.weight", "head.bias"} < names
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("small", "dense")]
    assert sizes[0] < 0.6 * sizes[1]


def test_a_network_without_the_pattern_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="none"):
        save_weights({"a": torch.randn(8, 8)}, tmp_path / "a.safetensors", "compressed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "metadata",
    [
        "{",
        '{"schema": "autoprune.compressed/9"}',
        '{"schema": "autoprune.compressed/1", "weights": []}',
        '{"schema": "autoprune.compressed/1", "weights": {"a": {"shape": [4, 8], "outputs": 0, "inputs": 1}}}',
        '{"schema": "autoprune.compressed/1", "weights": {"w": {"shape": [4, -8], "outputs": 0, "inputs": 1}}}',
        '{"schema": "autoprune.compressed/1", "weights": {"w": {"shape": [4, 80], "outputs": 0, "inputs": 1}}}',
    ],
)
def test_damaged_files_get_one_line(metadata, tmp_path):
    found = compress(two_of_four(4, 8))
    content = {"w:values": found.values, "w:positions": found.positions}
    safetensors.torch.save_file(content, tmp_path / "w.safetensors", {"autoprune.layout": metadata})
    with pytest.raises(InputError) as raised:
        read_weights(tmp_path / "w.safetensors")
    assert "w.safetensors" in str(raised.value) and "\n" not in str(raised.value)
