"""Easy and hard images of a dynamic network: which they are, and that their pixels survive in the report."""

import base64

import numpy as np
import torch
from torch import nn

from autoprune.models.inputs.reader import BatchReader
from autoprune.pipeline.jobs.dynamic.extremes import extremes
from autoprune.pipeline.jobs.dynamic.shift import images_in
from autoprune.reports.figures.dynamic import curves_figure, extremes_figure


class ByBrightness:
    """Bright images take the first path, dark ones the last; the brighter, the surer of class 1."""

    def __init__(self):
        self.counts = [3, 4]

    def answers(self, images):
        brightness = images.mean((1, 2, 3))
        self.counts[0] += len(images)
        return torch.stack([-brightness, brightness], 1), (brightness < 0.5).long()


def images_of(count, side=4, channels=1):
    """Each brighter than the one before, with a bright corner."""
    images = torch.linspace(0.1, 0.9, count).view(-1, 1, 1, 1).expand(count, channels, side, side).clone()
    images[:, :, 0, 0] = 1.0
    return images


def found(images):
    labels = torch.ones(len(images), dtype=torch.int64)
    network = ByBrightness()
    read = images_in(nn.Identity(), BatchReader(), [(images, labels)])
    return extremes(network, *read, ("first", "end")), network


def test_the_easiest_are_surest_on_the_shortest_path_and_the_hardest_least_sure_on_the_longest():
    rows, network = found(images_of(20))
    easiest = [each for each in rows if each["which"] == "easiest"]
    hardest = [each for each in rows if each["which"] == "hardest"]
    assert [each["input"] for each in easiest] == [19, 18, 17, 16, 15, 14]
    assert [each["input"] for each in hardest] == [0, 1, 2, 3, 4, 5]
    assert {each["place"] for each in easiest} == {"first"}
    assert {each["place"] for each in hardest} == {"end"}
    assert [each["class"] for each in rows] == [1] * 12
    assert network.counts == [3, 4]


def test_a_path_counts_before_the_probability():
    class Confident(ByBrightness):
        def answers(self, images):
            logits, taken = super().answers(images)
            return logits, 1 - taken  # now the brightest, of which it is surest, take the longest path

    images = images_of(20)
    rows = extremes(Confident(), images, torch.ones(20, dtype=torch.int64), ("a", "b"))
    easiest = [each for each in rows if each["which"] == "easiest"]
    assert {each["place"] for each in easiest} == {"a"}
    assert max(each["input"] for each in easiest) < 10


def test_pixels_are_bytes_of_at_most_32_a_side_from_darkest_to_brightest():
    rows, _ = found(images_of(12, side=4))
    pixels = np.frombuffer(base64.b64decode(rows[0]["pixels"]), np.uint8).reshape(rows[0]["shape"])
    assert pixels.shape == (4, 4, 1)
    assert pixels[0, 0] == 255
    assert (np.delete(pixels.ravel(), 0) == 0).all()
    large, _ = found(images_of(12, side=96, channels=3))
    assert large[0]["shape"] == [32, 32, 3]


def test_inputs_that_are_no_pictures_have_none():
    assert found(torch.rand(6, 5, 4, 4))[0] == []
    assert found(torch.rand(6, 7))[0] == []


def test_fewer_images_than_places_for_them_are_drawn():
    rows, _ = found(images_of(3))
    drawn = [one for one in extremes_figure({"extremes": rows}).axes if one.images]
    assert len(drawn) == 6
    titles = [one.get_title() for one in drawn]
    assert titles[0].startswith("first\nclass 1, ")
    assert titles[3].startswith("end\n1 as 0, ") or titles[3].startswith("end\nclass 1, ")


def test_a_static_network_and_the_cascade_are_points_of_the_curve():
    report = {
        "curves": {"solved": [{"mean_ms": 1.0, "accuracy": 0.9}]},
        "dense": {"latency_ms": 2.0, "accuracy": 0.95},
        "predicted_mean_latency_ms": 1.0,
        "accuracy": 0.9,
        "static": {"accuracy": 0.8, "latency_share": 0.5, "cascade": {"accuracy": 0.85, "mean_share": 0.75}},
    }
    lines = {line.get_label(): line.get_xydata().tolist() for line in curves_figure(report).axes[0].lines}
    assert lines["static"] == [[1.0, 80.0]]
    assert lines["cascade"] == [[1.5, 85.0]]
    report["static"] = None
    assert "static" not in {line.get_label() for line in curves_figure(report).axes[0].lines}
