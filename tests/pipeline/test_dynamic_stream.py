"""The stream: every input through every file, files in turns; what it says beside the prediction."""

import pytest
import torch

from autoprune.dynamic_networks.thresholds import Choice
from autoprune.hardware.targets.stream import Stream, calls_of
from autoprune.pipeline.jobs.dynamic.verified import Verified
from autoprune.reports.dynamic import dynamic_lines


class Clock:
    def sample(self, call, loops):
        call()
        return 1.0, True


class Recording:
    """Calls of files, in order."""

    name = "recording"

    def __init__(self):
        self.calls = []

    def caller(self, content):
        def call(arrays):
            number = int(arrays[0][0])
            self.calls.append((content, number))
            return [content, number]

        return call

    def clock(self):
        return Clock()


def test_every_input_is_counted_once_for_every_file_and_files_take_turns():
    target = Recording()
    inputs = [[torch.tensor([number])] for number in range(60)]
    seconds, outputs = calls_of(target, [b"dense", b"dynamic"], inputs)
    assert [len(times) for times in seconds] == [60, 60]
    assert outputs == [[b"dynamic", number] for number in range(60)]
    changes = sum(one[0] != other[0] for one, other in zip(target.calls, target.calls[1:], strict=False))
    assert changes == 5  # three turns of two files
    for content in (b"dense", b"dynamic"):
        counted = [number for file, number in target.calls if file == content]
        assert len(counted) == 60 + 3 * 2  # two calls before every turn, for the caches


def stream(p50, mean):
    return Stream(mean, p50, mean, mean, mean)


def verified(mean):
    """Paths of 1 and 3 ms, half of the inputs on each, beside a dense network of 2 ms; a call takes 0.5 ms more."""
    choice = Choice((0,), "max", (0.5,), (0.5, 0.5), 2.0, 0.0, 0.0)
    streams = (stream(2.5, 2.5), stream(2.5, mean))
    return Verified(choice, b"", 2.0, (1.0, 3.0), streams, (), {0: 1.5, 1: 2 * mean - 1.5})


def test_the_prediction_is_that_of_single_calls():
    assert verified(2.5).predicted_share == pytest.approx((2.0 + 0.5) / (2.0 + 0.5))
    assert verified(2.5).predicted == pytest.approx(2.0)


@pytest.mark.parametrize(("mean", "says"), [(2.5, False), (2.55, False), (2.75, True)])
def test_the_report_says_where_the_stream_took_longer_than_predicted(mean, says):
    found = verified(mean)
    exits = [
        {"place": place, "share": 0.5, "path_ms": ms, "accuracy": None, "stream_ms": found.stream_paths_ms[number]}
        for number, (place, ms) in enumerate((("early", 1.0), ("end", 3.0)))
    ]
    content = {
        "dense": {"accuracy": 0.9, "latency_ms": 2.0},
        "dynamic": True,
        "accuracy": 0.9,
        "mean_latency_ms": mean,
        "mean_share": found.measured_share,
        "predicted_share": found.predicted_share,
        "call_ms": found.call_ms,
        "p95_latency_ms": 3.0,
        "worst_latency_ms": 3.0,
        "exits": exits,
        "test_drop": 0.0,
        "promised_drop": 0.01,
    }
    lines = " ".join(dynamic_lines(content))
    assert ("of what paths and shares predict" in lines) is says
    if says:
        assert "most of it at end: 4.0000 ms a call there, 3.5000 timed alone" in lines
