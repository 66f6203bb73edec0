"""Dense against pruned: which timings are paired, what a spread is, and what happens where a target fails."""

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
import yaml
from torch import nn

from autoprune import bench
from autoprune.errors import InputError, TargetError
from autoprune.hardware import TARGETS, Measurement, Target, get_target
from autoprune.hardware.accelerators import load_accelerator
from autoprune.pipeline.bench.compare import Subject, bench_subject, chosen_targets
from autoprune.pipeline.reporter import Silent

X = torch.zeros(1, 1, 8, 8)
DRIFT = (1.0, 1.4, 0.9, 2.0, 1.2)  # of the machine, call by call


def net(width):
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, 4, 3), nn.Flatten(), nn.Linear(64, 2))


class Drifting(Target):
    """Latency is the number of parameters times a drift that all networks of one call share."""

    name = "drifting"
    memory = True

    def __init__(self, *, threads=1):
        super().__init__(threads=threads)
        self.sessions, self.calls = 0, []

    def available(self):
        return None

    def versions(self):
        return {"runtime": "drift 1"}

    def pack(self, model, example):
        return str(sum(p.numel() for p in model.parameters())).encode()

    @contextmanager
    def session(self):
        self.sessions += 1
        yield self

    def time(self, payloads, protocol, progress=None):
        sizes = [int(p) for p in payloads]
        drift = DRIFT[len(self.calls) % len(DRIFT)]
        self.calls.append(sizes)
        peak = {"peak_memory_mb": float(max(sizes))} if self.memory else {}
        return [Measurement(1e-3 * size * drift, 0.0, 1, "made up", True, peak) for size in sizes]


class Absent(Drifting):
    name = "absent"

    def available(self):
        return "no board is plugged in"


class Broken(Drifting):
    name = "broken"

    def time(self, payloads, protocol, progress=None):
        raise TargetError("the board\ncaught fire")


def subject(**changes):
    return replace(Subject("net", net(16), net(8), X, None, "no data"), **changes)


def row_of(target, repetitions=2, **changes):
    (row,) = bench_subject(subject(**changes), [target], repetitions, Silent())["targets"].values()
    return row


def test_a_ratio_is_of_one_pair_so_that_drift_drops_out():
    target = Drifting()
    row = row_of(target, 5)
    dense, small = (sum(p.numel() for p in net(width).parameters()) for width in (16, 8))
    assert row["ratio"]["values"] == pytest.approx([small / dense] * 5)
    assert row["dense"]["latency_ms"] == pytest.approx(1e-3 * dense * 1.2)  # the median drift
    assert row["dense"]["latency_least_ms"] == pytest.approx(1e-3 * dense * 0.9)
    assert row["pruned"]["latency_most_ms"] == pytest.approx(1e-3 * small * 2.0)
    assert target.calls[:5] == [[dense, small], [small, dense]] * 2 + [[dense, small]]


def test_the_spread_is_the_range_of_the_pairs():
    class Noisy(Drifting):
        def time(self, payloads, protocol, progress=None):
            results = super().time(payloads, protocol)
            return [replace(results[0], ms=results[0].ms * (1 + 0.1 * len(self.calls))), *results[1:]]

    ratio = row_of(Noisy(), 4)["ratio"]
    assert ratio["least"] == min(ratio["values"]) < ratio["median"] < ratio["most"] == max(ratio["values"])
    assert ratio["median"] == pytest.approx(sum(sorted(ratio["values"])[1:3]) / 2)


def test_memory_is_of_a_session_of_its_own_and_none_where_it_is_unknown():
    target = Drifting()
    row = row_of(target)
    sizes = [sum(p.numel() for p in net(width).parameters()) for width in (16, 8)]
    assert [row["dense"]["peak_memory_mb"], row["pruned"]["peak_memory_mb"]] == sizes
    assert target.sessions == 3
    silent = Drifting()
    silent.memory = False
    row = row_of(silent)
    assert (row["dense"]["peak_memory_mb"], silent.sessions) == (None, 1)


def test_targets_that_cannot_are_listed_with_their_reason():
    content = bench_subject(subject(), [Absent(), Broken(), Drifting()], 1, Silent())
    assert list(content["targets"]) == [f"{__name__}:{name}" for name in ("Absent", "Broken", "Drifting")]
    absent, broken, timed = content["targets"].values()
    assert absent == {"available": False, "reason": "no board is plugged in"}
    named = f"target 'broken' ({__name__}:Broken), in time(): the board caught fire"
    assert broken == {"available": True, "reason": named}
    assert timed["reason"] is None
    with pytest.raises(TargetError, match="Absent: no board is plugged in"):
        bench_subject(subject(), [Absent()], 1, Silent())
    with pytest.raises(TargetError, match=r"Broken: .*the board caught fire; .*Absent: no board"):
        bench_subject(subject(), [Broken(), Absent()], 1, Silent())


def test_a_network_that_every_target_refuses_is_wrong_input(tmp_path):
    chip = load_accelerator("eie").content() | {"search": {}}
    chip["memory"] |= {"weights_kb_per_pe": 0.001}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(chip))
    small = get_target(f"accelerator:{tmp_path / 'tiny.yaml'}")
    with pytest.raises(InputError, match=r"does not fit: .* need [0-9.]+ KB of weights_kb_per_pe") as refused:
        bench_subject(subject(), [small], 1, Silent())
    assert refused.value.exit_code == 2
    with pytest.raises(TargetError, match=r"does not fit: .*no board is plugged in"):
        bench_subject(subject(), [small, Absent()], 1, Silent())


def test_every_target_once_and_unknown_ones_refused():
    names = [target.name for target in chosen_targets(["torch", "all", "torch"], 2)]
    assert names == ["torch", *(name for name in TARGETS if name != "torch")]
    with pytest.raises(InputError, match="no target is named 'onnxruntme'"):
        chosen_targets(["onnxruntme"], 1)
    with pytest.raises(InputError, match="name a target"):
        chosen_targets([], 1)
    with pytest.raises(InputError, match="at least 1 repetition"):
        bench_subject(subject(), [Drifting()], 0, Silent())


def test_figures_that_no_target_changes(tmp_path):
    from autoprune.models import save_weights

    dense, small = net(16), net(8)
    batches = [(torch.zeros(3, 1, 8, 8), torch.tensor([0, 1, 1]))]
    content = bench_subject(subject(dense=dense, small=small, test=batches, unscored=None), [Drifting()], 1, Silent())
    for name, width, network in (("dense", 16, dense), ("pruned", 8, small)):
        figures = content["networks"][name]
        save_weights(network.state_dict(), tmp_path / "w.safetensors")
        assert figures["safetensors_bytes"] == (tmp_path / "w.safetensors").stat().st_size
        assert figures["onnx_bytes"] > figures["safetensors_bytes"] / 2
        assert figures["flops"] == width * 9 * 36 + 4 * width * 9 * 16 + 64 * 2
        assert figures["params"] == sum(p.numel() for p in network.parameters())
        assert figures["accuracy"] in (1 / 3, 2 / 3)
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_a_network_alone_has_no_ratio():
    row = row_of(Drifting(), small=None)
    assert "ratio" not in row
    assert "pruned" not in row


def test_from_python_on_onnxruntime():
    pytest.importorskip("onnxruntime")
    content = bench(net(256), net(16), X, "onnxruntime", repetitions=2, evaluate=lambda *_: 0.5, test=[0])
    row = content["targets"]["onnxruntime"]
    assert 0 < row["ratio"]["most"] < 1
    assert row["device"]["target"] == "onnxruntime"
    assert content["networks"]["pruned"]["score"] == 0.5
