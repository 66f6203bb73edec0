"""Options: aligned, never empty, never above the width, always with the width itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.errors import InputError
from autoprune.hardware import get_target, unit_step, width_options

_ORT = get_target("onnxruntime")


@given(st.integers(1, 5000), st.one_of(st.none(), st.integers(1, 64)), st.integers(2, 32))
def test_options_always_hold(width, granularity, most) -> None:
    found = width_options(width, _ORT, granularity, most)
    step = unit_step(_ORT, granularity)
    assert found[-1] == width and found[0] >= 1 and len(found) <= most
    assert list(found) == sorted(set(found))
    assert all(kept % step == 0 for kept in found[:-1])
    assert found[0] >= min(step, width)


def test_values_by_hand() -> None:
    assert width_options(16, _ORT) == (4, 8, 12, 16)
    assert width_options(64, _ORT) == tuple(range(4, 65, 4))
    assert width_options(512, _ORT) == tuple(range(32, 513, 32))
    assert width_options(320, _ORT) == tuple(range(32, 321, 32))
    assert width_options(3, _ORT) == (3,)
    assert width_options(3, _ORT, granularity=1) == (1, 2, 3)
    assert width_options(16, get_target("torch")) == (4, 8, 12, 16)


def test_units_of_several_channels_need_fewer_for_a_granule() -> None:
    assert width_options(16, _ORT, positions=2) == (2, 4, 6, 8, 10, 12, 14, 16)
    assert width_options(16, _ORT, positions=4) == width_options(16, _ORT, positions=8) == tuple(range(1, 17))
    assert width_options(16, _ORT, 8, positions=6) == (4, 8, 12, 16)  # 24, 48 ... channels
    assert width_options(40, None, most=None) == tuple(range(1, 41))


def test_nonsense_is_refused() -> None:
    for call in (
        lambda: width_options(0, _ORT),
        lambda: width_options(8, _ORT, 0),
        lambda: width_options(8, _ORT, None, 1),
    ):
        with pytest.raises(InputError):
            call()
