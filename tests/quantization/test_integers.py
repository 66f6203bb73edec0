"""Scales, zero points, weights and ranges, against values worked out by hand."""

import numpy as np
import pytest

from autoprune.errors import InputError
from autoprune.quantization.affine import activation_numbers, quantized_bias, quantized_weight, rounded
from autoprune.quantization.ranges import BINS, RANGES, Histogram
from autoprune.quantization.scheme import SCHEMES, Scheme, scheme_named


def test_zero_is_always_one_of_the_values():
    assert activation_numbers(0.0, 2.55, Scheme()).zero == 0
    both = activation_numbers(-1.0, 1.55, Scheme())
    assert both.zero == 100 and both.scale == pytest.approx(0.01)
    signed = activation_numbers(-1.0, 1.55, Scheme(activations="s8"))
    assert signed.zero == -28 and signed.scale == pytest.approx(0.01)
    away = activation_numbers(1.0, 2.55, Scheme())  # a range that leaves 0 out is widened to it
    assert away.zero == 0 and away.scale == pytest.approx(0.01)


def test_values_inside_move_by_half_a_step_at_most_and_values_outside_are_cut_off():
    values = np.linspace(-3, 3, 1001)
    found = rounded(values, -1.0, 1.0, Scheme())
    inside = np.abs(values) <= 1
    assert np.abs(found - values)[inside].max() <= 1 / 255 + 1e-9
    assert found.min() >= -1 - 1.01 / 255 and found.max() <= 1 + 1.01 / 255


def test_weights_have_a_scale_for_each_output_or_one():
    weight = np.array([[1.27, -0.01], [0.0127, 0.0]], np.float32)
    each = quantized_weight(weight, 0, Scheme(), None, 1.0)
    assert each.values.tolist() == [[127, -1], [127, 0]] and each.values.dtype == np.int8
    assert each.scales == pytest.approx([0.01, 0.0001])
    one = quantized_weight(weight, 0, Scheme(per_channel=False), None, 1.0)
    assert one.values.tolist() == [[127, -1], [1, 0]] and one.scales == pytest.approx(0.01)
    seven = quantized_weight(weight, 0, Scheme(reduced=True), None, 1.0)
    assert np.abs(seven.values).max() == 63
    unsigned = quantized_weight(weight, 0, Scheme(weights="u8"), None, 1.0)
    assert unsigned.values.tolist() == [[255, 127], [255, 128]] and unsigned.zeros.tolist() == [128, 128]


def test_a_bias_that_does_not_fit_raises_the_scale_of_its_weight():
    weight, bias = np.full((1, 1), 1e-9, np.float32), np.array([100.0], np.float32)
    found = quantized_weight(weight, 0, Scheme(), bias, 1e-3)
    steps = quantized_bias(bias, 1e-3, found.scales)
    assert float(steps[0]) * 1e-3 * float(found.scales[0]) == pytest.approx(100.0, rel=1e-6)


def _of(values):
    low, high = float(values.min()), float(values.max())
    return Histogram(low, high, np.histogram(values, BINS, (low, high))[0])


def test_ranges_of_many_small_values_and_one_large_one():
    values = np.concatenate([np.abs(np.random.default_rng(0).standard_normal(200_000)), [60.0]])
    found = _of(values)
    ranges = {name: range_of(found, Scheme()) for name, range_of in RANGES.items()}
    assert ranges["minmax"] == (values.min(), 60.0)
    # 99.995 % of the absolute values of a normal distribution lie below 4.06.
    assert ranges["percentile"][1] == pytest.approx(4.06, abs=0.15)
    assert 3 < ranges["entropy"][1] < 20
    exact = {high: np.square(rounded(values, 0, high, Scheme()) - values).mean() for high in (12.0, 30.0, 60.0)}
    chosen = np.square(rounded(values, 0, ranges["mse"][1], Scheme()) - values).mean()
    assert chosen <= min(exact.values()) * 1.02


def test_what_is_exactly_zero_behind_a_relu_narrows_no_range():
    values = np.maximum(np.random.default_rng(0).standard_normal(200_000), 0.0)
    found = _of(values)
    errors = {}
    for name, range_of in RANGES.items():
        low, high = range_of(found, Scheme())
        errors[name] = np.square(rounded(values, low, high, Scheme()) - values).mean()
    assert errors["entropy"] < 4 * errors["mse"]  # the half at 0 once cut the other half off at a fifth of its range


@pytest.mark.parametrize("method", RANGES)
def test_a_tensor_that_is_always_zero_has_a_range(method):
    low, high = RANGES[method](Histogram(0.0, 0.0, np.zeros(BINS, np.int64)), Scheme())
    assert activation_numbers(low, high, Scheme()).scale > 0


def test_types_by_name():
    assert all(scheme_named(name) is scheme for name, scheme in SCHEMES.items())
    assert scheme_named("u8s8-reduced") == Scheme(reduced=True)
    with pytest.raises(InputError, match=r"unknown types 'U8S9'; did you mean 'U8S8'"):
        scheme_named("U8S9")
