"""Settings and the learning rate."""

import math

import pytest

from autoprune.errors import InputError
from autoprune.training import TrainSettings, share_of_peak


def test_the_rate_rises_in_a_line_and_falls_in_a_cosine() -> None:
    settings = TrainSettings(epochs=10, lr=0.4, warmup_epochs=1)
    rates = [0.4 * share_of_peak(settings, step, 5) for step in range(50)]
    assert rates[:5] == pytest.approx([0.4 * (k + 1) / 6 for k in range(5)])
    assert rates[5] == pytest.approx(0.4)
    assert rates[5:] == pytest.approx([0.2 * (1 + math.cos(math.pi * k / 45)) for k in range(45)])
    assert rates[5 + 22] > 0.2 > rates[5 + 23]  # half of the peak at the middle of the descent
    assert share_of_peak(settings, 50, 5) == pytest.approx(0)


def test_short_trainings_keep_two_thirds_for_the_descent() -> None:
    rates = [share_of_peak(TrainSettings(epochs=1, lr=1.0, warmup_epochs=5), step, 30) for step in range(30)]
    assert rates.index(max(rates)) == 10


def test_no_warm_up_begins_at_the_peak() -> None:
    assert share_of_peak(TrainSettings(epochs=3, lr=0.1, warmup_epochs=0), 0, 7) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"epochs": 1.5},
        {"lr": 0.0},
        {"lr": math.nan},
        {"momentum": 1.0},
        {"weight_decay": -1e-4},
        {"label_smoothing": 1.0},
        {"distil_weight": 1.1},
        {"temperature": 0.0},
        {"warmup_epochs": -1.0},
        {"seed": -1},
    ],
)
def test_a_value_out_of_range_is_named(wrong: dict[str, float]) -> None:
    (name, value), *_ = wrong.items()
    with pytest.raises(InputError, match=f"{name} is {value}"):
        TrainSettings(**wrong)


def test_all_wrong_values_are_named_at_once() -> None:
    with pytest.raises(InputError, match=r"lr is -1.*temperature is 0"):
        TrainSettings(lr=-1, temperature=0)
