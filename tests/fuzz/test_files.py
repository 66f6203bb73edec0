"""Damaged files: whatever is in them, reading gives a correct result or an error of ours, never another exception.

Every file is made by the project's own classes, then damaged (see damage.py). While the code stays the same, so
do the inputs; AUTOPRUNE_FUZZ_TIMES=10 tries ten times as many, others in every run.
"""

import json
import math
import os
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file, save

import autoprune
from autoprune.agents import AgentState, EpisodeRecord
from autoprune.cost.budget import parsed_budgets
from autoprune.errors import AutopruneError, MissingExtraError
from autoprune.hardware import LatencyTable
from autoprune.models import save_weights
from autoprune.reports import compare, summary_lines, summary_table, write_html
from autoprune.run.directory import RunDir, read_settings
from autoprune.run.experiment import Experiment
from autoprune.run.report import read_episodes, read_report
from autoprune.space import Policy
from tests.support import valid_files
from tests.support.damage import damaged_bytes, damaged_json, damaged_lines, damaged_value, damaged_yaml, text_of
from tests.support.nets import fuzzed

INPUTS = {
    "policy": 200, "latency table": 200, "experiment": 150, "report": 200, "page": 100, "picture": 8,
    "episodes": 130, "checkpoint": 100, "settings of a run": 60, "journal": 60, "load": 40,
}  # fmt: skip
LEAST = 1000
TIMES = int(os.environ.get("AUTOPRUNE_FUZZ_TIMES", "1"))  # more: so many times the inputs, others in every run
tried, read = Counter(), Counter()


def inputs(kind):
    """So many inputs of a kind."""
    return settings(
        max_examples=TIMES * INPUTS[kind], derandomize=TIMES == 1, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def attempt(kind, action):
    """Counts an input, and lets errors of ours pass if they are told in two lines."""
    tried[kind] += 1
    try:
        result = action()
    except AutopruneError as error:
        text = str(error)
        assert 1 <= len(text.splitlines()) <= 2 and len(text) < 1200, text[:2000]
        text.encode()  # can be printed
        return None
    read[kind] += 1
    return result


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """The valid files' bytes by name."""
    return valid_files.written(tmp_path_factory.mktemp("fuzz") / "valid")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


def test_undamaged_files_are_read(valid, folder):
    for name, content in valid.items():
        (folder / name).write_bytes(content)
    use_policy(folder / "policy.json")
    use_table(folder / "latency_table.json")
    use_experiment(folder / "settings.yaml")
    use_report(folder)
    assert len(use_episodes(folder)) == 8
    use_checkpoint(folder / "agent.safetensors")
    read_settings(folder)


def use_policy(path):
    policy = Policy.load(path)
    again = path.with_name("again.json")
    policy.save(again)
    assert Policy.load(again) == policy
    assert all(type(units) is int and units >= 1 for units in policy.choices.values())
    for name, kept in (policy.kept or {}).items():
        assert len(kept) == policy.choices[name] == len(set(kept))
    return policy


@inputs("policy")
@given(data=st.data())
def test_policies(valid, folder, data):
    path = folder / "policy.json"
    path.write_bytes(data.draw(damaged_json(valid["policy.json"])))
    attempt("policy", lambda: use_policy(path))


def use_table(path):
    table = LatencyTable.load(path)
    assert isinstance(table.complete, bool) and isinstance(table.summary(), str)
    json.dumps(table.error_figures(), allow_nan=False)
    prices = [table.predict(table.space.random(seed)) for seed in range(3)] + [table.predict({})]
    assert all(math.isfinite(price) and price >= 0 for price in prices)
    least, choices = table.cost().least()
    assert least <= min(prices) * (1 + 1e-9) + 1e-12
    assert math.isclose(table.predict(choices), least, rel_tol=1e-9, abs_tol=1e-12)
    again = path.with_name("again.json")
    table.save(again)
    assert LatencyTable.load(again).predict({}) == prices[-1]
    return table


@inputs("latency table")
@given(data=st.data())
def test_latency_tables(valid, folder, data):
    path = folder / "latency_table.json"
    path.write_bytes(data.draw(damaged_json(valid["latency_table.json"])))
    attempt("latency table", lambda: use_table(path))


def use_experiment(path, overrides=None):
    experiment = Experiment.read(path, overrides or {})
    assert Experiment.build(experiment.model_dump()) == experiment
    json.dumps(experiment.model_dump(mode="json"), allow_nan=False)
    assert 0 <= experiment.warmup_episodes <= experiment.episodes
    parsed_budgets(experiment.requested_budgets)
    assert "\0" not in str(experiment.run_dir)
    return experiment


@inputs("experiment")
@given(data=st.data(), overrides=st.sampled_from([{}, {}, {"flops": "30%"}, {"episodes": 7, "warmup": 2}]))
def test_experiments(valid, folder, data, overrides):
    path = folder / "damaged.yaml"
    path.write_bytes(data.draw(damaged_yaml(valid["settings.yaml"])))
    attempt("experiment", lambda: use_experiment(path, overrides))


@inputs("settings of a run")
@given(data=st.data())
def test_settings_of_a_run(valid, folder, data):
    run = folder / "settings"
    run.mkdir(exist_ok=True)
    (run / "experiment.yaml").write_bytes(data.draw(damaged_yaml(valid["experiment.yaml"])))

    def use():
        experiment, recorded = read_settings(run)
        assert isinstance(recorded, dict)
        with RunDir(run, experiment, resume=True) as opened:
            assert all(isinstance(line, str) for line in opened.notices)

    attempt("settings of a run", use)


@inputs("journal")
@given(data=st.data())
def test_run_journals(valid, folder, data):
    run = folder / "journal"
    (run / "checkpoint").mkdir(parents=True, exist_ok=True)
    (run / "experiment.yaml").write_bytes(valid["experiment.yaml"])
    (run / "checkpoint" / "journal.json").write_bytes(data.draw(damaged_json(valid["journal.json"])))

    def use():
        experiment, _ = read_settings(run)
        with RunDir(run, experiment, resume=True) as opened:
            known = opened.recall("granularity")
            opened.remember("more", [1])
        with RunDir(run, experiment, resume=True) as opened:
            assert opened.recall("granularity") == known and opened.recall("more") == [1]

    attempt("journal", use)


def use_report(run, picture=False):
    report = read_report(run)
    content = report.model_dump(by_alias=True)
    console = Console(file=(run / "screen.txt").open("w", encoding="utf-8"), width=120)
    console.print(summary_table(content))
    console.print(compare([run]))
    console.file.close()
    assert all(isinstance(line, str) for line in summary_lines(content))
    return report


@inputs("report")
@given(data=st.data())
def test_reports(valid, folder, data):
    run = folder / "report"
    run.mkdir(exist_ok=True)
    (run / "report.json").write_bytes(data.draw(damaged_json(valid["report.json"])))
    attempt("report", lambda: use_report(run))


PAGE = ["report.json", "policy.json", "episodes.jsonl", "latency_table.json", "experiment.yaml"]


def damaged_run(draw, valid, run):
    """A run's files, one of them damaged."""
    run.mkdir(exist_ok=True)
    which = draw(st.sampled_from(PAGE))
    for name in PAGE:
        damage = {"json": damaged_json, "sonl": damaged_lines, "yaml": damaged_yaml}[name[-4:]]
        (run / name).write_bytes(draw(damage(valid[name])) if name == which else valid[name])


def use_page(run):
    page = write_html(run).read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and page.endswith("</html>\n")
    assert "<b>&" not in page  # names are escaped
    return page


@inputs("page")
@given(data=st.data())
def test_pages_without_pictures(valid, folder, data):
    run = folder / "page"
    damaged_run(data.draw, valid, run)

    def not_here(*_, **__):
        raise MissingExtraError("matplotlib", "report")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autoprune.reports.html.rendering.svg_address", not_here)
        for name in ("policy_figure", "episodes_figure", "scatter_figure"):
            patch.setattr(f"autoprune.reports.figures.search.{name}", not_here)
        attempt("page", lambda: use_page(run))


@inputs("picture")
@given(data=st.data())
def test_pages_with_pictures(valid, folder, data):
    run = folder / "picture"
    damaged_run(data.draw, valid, run)
    attempt("picture", lambda: use_page(run))


def use_episodes(run):
    seen = read_episodes(run)  # first: it leaves the file as it is
    experiment, _ = read_settings(run)
    with RunDir(run, experiment, resume=True) as opened:
        rows = opened.episodes()
        assert opened.episodes() == rows
    assert len(seen) == len(rows)
    records = [EpisodeRecord.from_row(row) for row in rows]
    assert [record.to_row() for record in records] == [{k: v for k, v in row.items() if v is not None} for row in rows]
    return records


@inputs("episodes")
@given(data=st.data())
def test_episodes(valid, folder, data):
    run = folder / "episodes"
    run.mkdir(exist_ok=True)
    (run / "experiment.yaml").write_bytes(valid["experiment.yaml"])
    (run / "episodes.jsonl").write_bytes(data.draw(damaged_lines(valid["episodes.jsonl"])))
    attempt("episodes", lambda: use_episodes(run))


def use_checkpoint(path, player=None):
    state = AgentState.load(path)
    assert state.episode >= 0
    if player is not None:
        player.load_state_dict(state)
        assert player.played == state.episode
    return state


@st.composite
def damaged_checkpoint(draw, content, tensors, values):
    """An agent's checkpoint with its bytes, its values or its tensors damaged."""
    what = draw(st.sampled_from(["bytes", "header", "values", "values", "tensors", "no values"]))
    if what == "bytes":
        return draw(damaged_bytes(content))
    if what == "header":
        return draw(damaged_bytes(content[:3000])) + content[3000:]
    if what == "no values":
        return save(tensors)
    if what == "values":
        return save(tensors, {"values": text_of(draw(damaged_value(values))).decode()})
    name = draw(st.sampled_from(sorted(tensors)))
    tensor = tensors[name]
    other = draw(
        st.sampled_from([None, tensor[:0], tensor[None], tensor.to(int), tensor * math.nan, tensor.reshape(-1)[:1]])
        if tensor.ndim
        else st.sampled_from([None, tensor[None], tensor * math.nan])
    )
    changed = {key: value for key, value in tensors.items() if key != name}
    return save(changed | ({} if other is None else {name: other.contiguous()}), {"values": json.dumps(values)})


@inputs("checkpoint")
@given(data=st.data())
def test_checkpoints(valid, folder, player, data):
    tensors, values = player.tensors, player.values
    path = folder / "agent.safetensors"
    path.write_bytes(data.draw(damaged_checkpoint(valid["agent.safetensors"], tensors, values)))
    attempt("checkpoint", lambda: use_checkpoint(path, player.agent))


@inputs("load")
@given(data=st.data())
def test_networks_of_policies(fitting, folder, data):
    path = folder / "policy_to_load.json"
    path.write_bytes(data.draw(damaged_json(fitting.policy)))
    images = torch.ones(2, 3, 8, 8)

    def use():
        found = autoprune.load(path, weights=fitting.weights)
        policy = Policy.load(path)
        again = autoprune.apply(fitting.model, policy, images)
        assert torch.equal(found(images), again.eval()(images)) and found(images).shape == (2, 5)
        assert {name: getattr(found, name).out_channels for name in policy.choices} == policy.choices

    attempt("load", use)


@pytest.fixture(scope="module")
def fitting(folder):
    """A network, its dense weights' file, and a policy of it as bytes."""
    model = fuzzed.tiny().eval()
    save_weights(model.state_dict(), folder / "dense.safetensors")
    valid_files.fitting_policy(model).save(folder / "fitting.json")
    policy = (folder / "fitting.json").read_bytes()
    return SimpleNamespace(model=model, weights=folder / "dense.safetensors", policy=policy)


@pytest.fixture(scope="module")
def player(valid, folder):
    """An agent that takes states, and the parts of a good one."""
    path = folder / "good.safetensors"
    path.write_bytes(valid["agent.safetensors"])
    values = AgentState.load(path).values
    return SimpleNamespace(agent=valid_files.agent("ddpg"), tensors=load_file(path), values=values)


def test_enough_inputs_were_tried(capsys):
    if tried.keys() != INPUTS.keys():
        pytest.skip("only some of the tests were run")
    total = sum(tried.values())
    told = ", ".join(f"{tried[kind]} {kind} ({read[kind]} read)" for kind in INPUTS)
    with capsys.disabled():
        print(f"\nfuzzed {total} damaged files, {sum(read.values())} of them read all the same: {told}")
    assert total >= LEAST
    # A fuzz test that never gets past the door, or never meets it, would prove nothing.
    assert all(0 < read[kind] < tried[kind] for kind in INPUTS)
