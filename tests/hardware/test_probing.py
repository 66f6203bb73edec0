"""The granule that is found is the one that the device's formula has, and stays the same."""

import json
import math

import pytest

from autoprune.errors import InputError, TargetError
from autoprune.foundations.cache import cache_folder
from autoprune.hardware import width_options
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.contract.protocol import Measurement
from autoprune.hardware.grid import probing
from autoprune.hardware.grid.probing import Probe, probe
from autoprune.hardware.grid.widths import Grid
from tests.support.targets.formula_target import MadeUpTarget


class Unnamed(MadeUpTarget):
    """A device whose class is believed to say nothing of widths: the formula decides."""

    channel_multiple = 4
    shape = staticmethod(lambda inputs, outputs: float(inputs * outputs))
    sessions = 0
    fails = False
    noise = staticmethod(lambda n: 0.0)

    def versions(self):
        return {"runtime": f"{type(self).__qualname__} 1"}

    def time(self, payloads, protocol, progress=None):
        type(self).sessions += 1
        if self.fails:
            raise TargetError("the cable was pulled")
        results = []
        for number, payload in enumerate(payloads):
            content = json.loads(payload)
            layer = Layer.from_json(content["layer"])
            work = self.shape(layer.inputs, layer.outputs) * math.prod(layer.kernel) * 1e-4
            ms = 0.003 + content["copies"] * work * (1 + self.noise(number))
            results.append(Measurement(ms, 0.0, 1, "formula", True))
        return results


def up(width: int, step: int) -> int:
    return -(-width // step) * step


class Linear(Unnamed):
    """Every channel counts."""


class Fours(Unnamed):
    shape = staticmethod(lambda i, o: up(i, 4) * up(o, 4))


class Saw(Unnamed):
    """Outputs in stairs of 16; inputs in steps of 4, and slower off them: what onnxruntime was seen to do."""

    shape = staticmethod(lambda i, o: up(i, 4) * up(o, 16) * (1.5 if i % 4 else 1.0))


class Sixteens(Unnamed):
    shape = staticmethod(lambda i, o: up(i, 16) * up(o, 16))


class Flat(Unnamed):
    """Nothing saves anything."""

    shape = staticmethod(lambda i, o: 1000.0)


class Moody(Unnamed):
    """Odd widths save half a percent: neither clearly dominated nor clearly free."""

    shape = staticmethod(lambda i, o: i * o * (1.018 if i % 2 or o % 2 else 1.0))


class Disturbed(Unnamed):
    """All else slowed down while the full widths were timed, as on a GPU that other jobs use: no width saves a half."""

    shape = staticmethod(lambda i, o: i * o * (2.0 if {i, o} <= {32, 64} else 1.0))


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(probing, "_answers", {})
    monkeypatch.setattr(probing, "_named_by_user", lambda kind: False)
    for kind in Unnamed.__subclasses__():
        monkeypatch.setattr(kind, "sessions", 0)


@pytest.mark.parametrize(("kind", "granule"), [(Linear, 1), (Fours, 4), (Saw, 4), (Sixteens, 16)])
def test_the_formula_is_found(kind, granule) -> None:
    found = probe(kind())
    assert (found.channel_multiple, found.measured) == (granule, True), found.reason
    assert set(found.evidence) == {f"{k} at {w}" for k in ("3x3", "1x1", "depthwise") for w in (32, 64)}


@pytest.mark.parametrize("kind", [Flat, Moody, Disturbed])
def test_what_is_not_clear_is_left_to_the_class(kind) -> None:
    found = probe(kind())
    assert (found.channel_multiple, found.measured) == (4, False)
    assert "default" in found.reason


@pytest.mark.parametrize("seed", range(8))
def test_noise_does_not_change_the_answer(seed, monkeypatch) -> None:
    draw = __import__("numpy").random.default_rng(seed)
    monkeypatch.setattr(Saw, "noise", staticmethod(lambda n: float(draw.normal(0, 0.01))))
    assert probe(Saw()).channel_multiple == 4


def test_it_is_measured_once_a_machine(monkeypatch) -> None:
    first = probe(Saw())
    measured = Saw.sessions
    assert probe(Saw()) == first and Saw.sessions == measured > 0
    monkeypatch.setattr(probing, "_answers", {})  # another process
    assert probe(Saw()) == first and Saw.sessions == measured
    (file,) = cache_folder().glob("probe-*.json")
    content = json.loads(file.read_text())
    assert content["device"]["runtime"] == "Saw 1" and content["probe"]["granule"] == 4


@pytest.mark.parametrize("damage", ["", "{", '{"schema": "autoprune.probe/1"}', '{"schema": 1, "probe": {}}', "[]"])
def test_a_damaged_file_is_measured_anew(damage, monkeypatch) -> None:
    first = probe(Saw())
    (file,) = cache_folder().glob("probe-*.json")
    file.write_text(damage)
    monkeypatch.setattr(probing, "_answers", {})
    assert probe(Saw()) == first
    assert json.loads(file.read_text())["probe"]["granule"] == 4


def test_an_answer_of_another_device_is_not_taken(monkeypatch) -> None:
    probe(Saw())
    (file,) = cache_folder().glob("probe-*.json")
    content = json.loads(file.read_text())
    content["device"]["cpu"], content["probe"]["granule"] = "another", 64
    file.write_text(json.dumps(content))
    monkeypatch.setattr(probing, "_answers", {})
    assert probe(Saw()).channel_multiple == 4


def test_a_device_that_fails_keeps_its_default_and_is_asked_again(monkeypatch) -> None:
    monkeypatch.setattr(Saw, "fails", True)
    found = probe(Saw())
    assert found.channel_multiple == 4 and "cable" in found.reason and not list(cache_folder().glob("probe-*.json"))
    monkeypatch.setattr(Saw, "fails", False)
    monkeypatch.setattr(probing, "_answers", {})
    assert probe(Saw()).measured


def test_what_cannot_be_timed_alone_or_is_absent_is_not_probed(monkeypatch) -> None:
    monkeypatch.setattr(Saw, "pack_layer", lambda self, layer, copies: None)
    assert probe(Saw()) == Probe(4, Saw.channel_multiple_reason) and Saw.sessions == 0
    monkeypatch.setattr(Linear, "available", lambda self: "no board")
    monkeypatch.setattr(Linear, "versions", lambda self: 1 / 0)
    assert probe(Linear()).channel_multiple == 4 and Linear.sessions == 0


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "file" / "cache"))
    assert probe(Saw()).channel_multiple == 4


def test_options_follow_the_probe_and_narrow_layers_stay_prunable() -> None:
    assert Grid.of(Sixteens()) == Grid(16, 4)
    assert width_options(64, Sixteens()) == (16, 32, 48, 64)
    assert width_options(32, Sixteens()) == (8, 16, 24, 32)
    assert width_options(16, Sixteens()) == (4, 8, 12, 16)
    assert width_options(16, Sixteens(), granularity=16) == (16,)  # whoever asks for it gets it
    assert Grid.of(Linear()) == Grid(1, 1) and width_options(5, Linear()) == (1, 2, 3, 4, 5)


def test_a_users_own_word_stands(monkeypatch) -> None:
    monkeypatch.undo()
    target = Sixteens()
    assert probe(target) == Probe(4, target.channel_multiple_reason) and not Sixteens.sessions


@pytest.mark.parametrize("value", [0, [4], [4, 8], [4.0, 4], "4", [True, True], None])
def test_a_grid_that_is_none_is_refused(value) -> None:
    with pytest.raises(InputError, match="grid"):
        Grid.from_json(value)
    assert Grid.from_json([16, 4]) == Grid(16, 4) and Grid.from_json(4) == Grid(4, 4)
