"""`autoprune profile`: killed at any moment it goes on with what it measured; a device table serves several models."""

import dataclasses
import json
import signal
import time

import pytest

from autoprune.hardware import DeviceTable, LatencyTable
from autoprune.hardware.timing.effort import EFFORTS
from tests.support.command_line import JOB
from tests.support.processes import started, stopped

SLOW = '''

class Slow(Formula):
    """Takes its time, and writes down which layers it was asked for."""

    def time(self, payloads, protocol, progress=None):
        for payload in payloads:
            content = json.loads(payload)
            if "layer" in content:
                with open("asked", "a") as stream:
                    stream.write(Layer.from_json(content["layer"]).key + "\\n")
            time.sleep(0.003)
        return super().time(payloads, protocol, progress)


def wider():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))
'''


@pytest.fixture
def slow(tmp_path):
    (tmp_path / "nets.py").write_text("import time\n" + JOB.read_text() + SLOW)
    return tmp_path


def command(out="table.json", *more):
    names = ["--model", "nets:network", "--data", "nets:loaders", "--target", "nets:Slow"]
    return ["profile", *names, "--out", out, *more]


@pytest.mark.parametrize("by", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_an_interrupted_profile_goes_on_with_what_it_measured(autoprune, slow, monkeypatch, by):
    process = started(slow, *command())
    part = slow / "table.json.part"
    while not (part.exists() and LatencyTable.load(part).entries):
        assert process.poll() is None
        time.sleep(0.02)
    code, seconds, said = stopped(process, by)
    if by == signal.SIGINT:
        assert (code, seconds < 5) == (130, True)
        assert [line for line in said.splitlines() if line.startswith("autoprune: ")] == [
            "autoprune: interrupted; table.json.part keeps what is measured: the same command goes on"
        ]
    assert not (slow / "table.json").exists()
    known = LatencyTable.load(part).entries
    (slow / "asked").unlink()
    monkeypatch.syspath_prepend(slow)
    assert autoprune(*command()).code == 0
    asked = (slow / "asked").read_text().split("\n")[1:]  # the first is the empty graph
    table = LatencyTable.load(slow / "table.json")
    assert known and not set(asked) & set(known) and table.complete and not part.exists()


def test_a_device_table_serves_two_models(autoprune, slow, monkeypatch):
    monkeypatch.syspath_prepend(slow)
    assert autoprune(*command("a.json", "--table", "device.json")).code == 0
    known = DeviceTable.load(slow / "device.json").entries
    (slow / "asked").unlink()
    second = [word.replace("nets:network", "nets:wider") for word in command("b.json", "--table", "device.json")]
    outcome = autoprune(*second)
    assert outcome.code == 0 and f"{len(known)} layers of this device are known" in outcome.err
    asked = set((slow / "asked").read_text().split("\n")[1:]) - {""}
    table = LatencyTable.load(slow / "b.json")
    assert asked == set(table.entries) - set(known) and set(DeviceTable.load(slow / "device.json").entries) > asked
    (slow / "asked").unlink()
    search = [
        "search",
        *command()[1:7],
        "--table",
        "device.json",
        "--latency",
        "70%",
        "--agent",
        "random",
        "--run",
        "r",
    ]
    assert autoprune(*search, "--train-epochs", "1", "--episodes", "4", "--finalists", "2").code == 0
    assert not (slow / "asked").exists()  # every layer of the search was known


def test_a_table_of_another_device_is_refused_before_any_work(autoprune, slow, monkeypatch):
    monkeypatch.syspath_prepend(slow)
    assert autoprune(*command("a.json", "--table", "device.json")).code == 0
    content = json.loads((slow / "device.json").read_text())
    content["device"]["threads"] = "64"
    (slow / "device.json").write_text(json.dumps(content))
    for other in (command("b.json", "--table", "device.json"), command("b.json", "--table", "a.py")):
        (slow / "a.py").write_text("{}")
        outcome = autoprune(*other)
        assert (outcome.code, outcome.lines) == (2, 1)
    (slow / "a.json").rename(slow / "b.json.part")
    part = json.loads((slow / "b.json.part").read_text())
    part["device"]["threads"] = "64"
    (slow / "b.json.part").write_text(json.dumps(part))
    outcome = autoprune(*command("b.json"))
    assert outcome.code == 2 and "interrupted on another target" in outcome.error
    assert (slow / "b.json.part").exists() and not (slow / "b.json").exists()


def test_what_a_job_measures_is_added_to_the_device_table(autoprune, slow, monkeypatch):
    monkeypatch.syspath_prepend(slow)
    monkeypatch.setitem(EFFORTS, "normal", dataclasses.replace(EFFORTS["normal"], entries=20))
    job = ["compress", *command()[1:7], "--table", "device.json", "--latency", "70%", "--agent", "random", "--run", "r"]
    done = autoprune(*job, "--train-epochs", "1", "--finetune-epochs", "1", "--episodes", "4", "--finalists", "2")
    assert done.code == 0, done.err
    run = slow / "runs" / "r"
    first = LatencyTable.load(next((run / "checkpoint").glob("profile-*.json")))
    refined = LatencyTable.load(run / "latency_table.json")
    measured = {key for key, entry in refined.entries.items() if entry.source == "measured"}
    assert refined.estimated < first.estimated and measured == set(DeviceTable.load(slow / "device.json").entries)


def test_the_time_for_timing_is_announced_and_bounds_a_profile(autoprune, slow, monkeypatch):
    """Half a minute is announced for a first look; here it is nothing, and all but a few layers are estimated."""
    monkeypatch.syspath_prepend(slow)
    quick = autoprune(*command("a.json", "--timing", "quick"))
    assert quick.code == 0 and "timing quick: the profile takes 30.0 s at most" in quick.err
    normal = autoprune(*command("b.json"))
    assert normal.code == 0 and "timing normal: the profile takes 2:00 min at most" in normal.err
    assert LatencyTable.load(slow / "a.json").planned < LatencyTable.load(slow / "b.json").planned
    monkeypatch.setitem(EFFORTS, "quick", dataclasses.replace(EFFORTS["quick"], seconds=0.0))
    assert autoprune(*command("c.json", "--timing", "quick")).code == 0
    table = LatencyTable.load(slow / "c.json")
    assert table.complete and table.estimated > 2 * (len(table.entries) - table.estimated)
    refused = autoprune(*command("d.json", "--timing", "fast"))
    assert refused.code == 2 and refused.lines == 1 and "careful" in refused.error


BROKEN = """

def diverged():
    broken = network()
    with torch.no_grad():
        broken.fc.weight[0, 0] = float("nan")
    return broken


class Mute(Formula):
    def time(self, payloads, protocol, progress=None):
        return None
"""


def test_what_cannot_be_profiled_is_said_before_the_first_layer(autoprune, slow, monkeypatch):
    (slow / "broken_nets.py").write_text(JOB.read_text() + BROKEN)
    monkeypatch.syspath_prepend(slow)
    for change, code, said in (
        (("nets:network", "broken_nets:diverged"), 2, "fc.weight has NaN values"),
        (("nets:Slow", "broken_nets:Mute"), 4, "returned None, while trying the target"),
    ):
        outcome = autoprune(*(change[1] if word == change[0] else word for word in command()))
        assert (outcome.code, outcome.lines) == (code, 1) and said in outcome.error, outcome.err
        assert "measuring layers" not in outcome.err and not list(slow.glob("table.json*"))
