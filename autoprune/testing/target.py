"""What every target must do.

Subclass `TargetTests` in a test module, name it `Test...`, and say how the target is made:

    class TestMine(TargetTests):
        def target(self):
            return get_target("mine")

Tests that time something are skipped where the target does not work; that it says so in one line is tested everywhere.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoprune.hardware import Layer, LocalTarget, Measurement, Protocol, Target, get_target, measure
from autoprune.hardware.contract.target import load_class

__all__ = ["TargetTests"]

_FEW = Protocol(block=0.002, warmup=1, least_blocks=3, most_blocks=3)  # two threads on a busy machine crawl


class TargetTests(ABC):
    """Tests of one target on a small network.

    Attributes:
        clock: What its measurements say they were taken by; None where that may be anything.
    """

    clock: str | None = None

    @abstractmethod
    def target(self) -> Target:
        """A new target."""

    def network(self) -> tuple[nn.Module, Tensor]:
        """A network in training mode and an example for it: the least that has all usual layers."""
        layers = (nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
        return nn.Sequential(*layers).train(), torch.zeros(1, 3, 8, 8)

    def working(self) -> Target:
        """The target, if it works here; else the test is skipped."""
        target = self.target()
        if (missing := target.available()) is not None:
            pytest.skip(missing)
        return target

    def test_it_is_here_or_says_in_one_line_what_to_do(self) -> None:
        """Users see the line in `autoprune targets`."""
        missing = self.target().available()
        assert missing is None or (missing and "\n" not in missing)

    def test_its_spec_makes_it_again(self) -> None:
        """A run's folder keeps the spec alone."""
        target = self.target()
        again = get_target(target.spec)
        assert type(again) is type(target) and again.spec == target.spec

    def test_widths_are_counted_in_whole_channels(self) -> None:
        """The channel multiple is a whole number, and has a reason."""
        target = self.target()
        assert type(target.channel_multiple) is int and target.channel_multiple >= 1
        assert target.channel_multiple_reason and "\n" not in target.channel_multiple_reason

    def test_a_network_is_timed_and_left_as_it_was(self) -> None:
        """A positive latency that survives JSON and says where it was taken; weights, buffers and mode stay."""
        target, (model, example) = self.working(), self.network()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        (result,) = measure([model], example, target, _FEW)
        assert 0 < result.ms < 1e4 and result.n >= 1 and result.spread >= 0
        assert self.clock in (None, result.clock)
        assert result.conditions["device"] == target.fingerprint()
        assert Measurement.from_json(json.loads(json.dumps(result.to_json()))) == result
        assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        self.check(target, result)

    def check(self, target: Target, result: Measurement) -> None:  # noqa: B027 - a hook that may be left out
        """What else a measurement of this target must say; nothing by default."""

    def test_the_fingerprint_is_always_the_same(self) -> None:
        """Words alone; the target's name and the number of threads are among them."""
        target = self.working()
        found = target.fingerprint()
        assert found["target"] == target.name and found["threads"] == str(target.threads)
        assert all(isinstance(value, str) and value for value in found.values())
        assert target.fingerprint() == found == self.target().fingerprint()

    def test_batches_of_one_session(self) -> None:
        """One measurement a payload. A target that times layers alone has an empty graph, for a call's overhead."""
        target, (model, example) = self.working(), self.network()
        network, layer = target.pack(model, example), Layer("linear", 64, 10)
        alone = target.pack_layer(layer, 1)
        with target.session() as timer:
            assert len(timer.time([network] * 2, _FEW)) == 2
            if alone is not None:
                empty = target.pack_layer(layer, 0)
                assert empty is not None and target.copies(layer) >= 1
                assert all(result.ms >= 0 for result in timer.time([empty, alone], _FEW))

    def test_a_worker_makes_the_same_target(self) -> None:
        """A local target is rebuilt from its path and settings in a fresh process."""
        target = self.working()
        if isinstance(target, LocalTarget):
            settings: dict[str, Any] = json.loads(json.dumps(target.settings()))
            assert load_class(target.path())(**settings).fingerprint() == target.fingerprint()
