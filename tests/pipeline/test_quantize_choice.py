"""Which types are taken, by what was timed and scored: no network is needed for that."""

from types import SimpleNamespace

import pytest

from autoprune.pipeline.jobs.quantize.choosing import chosen
from autoprune.pipeline.jobs.quantize.trials import schemes_of
from autoprune.quantization.scheme import SCHEMES
from autoprune.run.experiment import Experiment

NAMES = ("U8S8", "U8S8 reduced", "S8S8")


def choice(milliseconds, scores, later=0.90):
    """Of three types beside a float32 network that takes 1 ms and is right in 90 %; other ranges reach `later`."""

    def once(key, compute):
        if key == "quantize types":
            return {"ms": [1.0, *milliseconds], "scores": [0.90, *scores]}
        return {"method": "mse", "scheme": bench.leader, "float_layers": [], "score": later, "latency_ms": None}

    experiment = Experiment(model="resnet20", data="digits", tolerance=0.3)
    spec = SimpleNamespace(is_accuracy=True, merit=float)
    run = SimpleNamespace(experiment=experiment, once=once)
    bench = SimpleNamespace(run=run, task=SimpleNamespace(scored_as=spec), leader="?")
    return chosen(bench, [SCHEMES[name] for name in NAMES], {}, None)


@pytest.mark.parametrize(
    ("milliseconds", "scores", "expected"),
    [
        ((0.5, 0.5, 0.6), (0.90, 0.90, 0.90), ("U8S8", True)),  # equally fast: the first
        ((0.5, 0.5, 0.6), (0.80, 0.899, 0.90), ("U8S8 reduced", True)),
        ((2.0, 1.9, 1.5), (0.90, 0.90, 0.90), ("S8S8", True)),  # all slower: the least slow
    ],
)
def test_the_fastest_types_within_the_tolerance_are_taken(milliseconds, scores, expected):
    found = choice(milliseconds, scores)
    assert (found.trial.scheme, found.within, found.tried) == (*expected, ())


def test_types_slower_than_float32_do_not_keep_faster_ones_from_other_ranges():
    found = choice((0.5, 0.6, 1.7), (0.80, 0.89, 0.90))
    assert found.within and len(found.tried) == 1 and found.trial.score == 0.90


def test_where_nothing_is_within_the_tolerance_the_best_of_the_faster_is_tried_on():
    found = choice((0.5, 0.6, 1.7), (0.50, 0.89, 0.70), later=0.85)
    assert not found.within and (found.trial.scheme, found.trial.score) == ("U8S8 reduced", 0.89)


@pytest.mark.parametrize(("types", "scales"), [("U8S8 per tensor", "channel"), ("U8S8", "tensor")])
def test_one_scale_is_one_scale_however_it_is_asked_for(types, scales):
    experiment = Experiment(model="resnet20", data="digits", types=types, scales=scales)
    assert [scheme.name for scheme in schemes_of(experiment)] == ["U8S8 per tensor"]
