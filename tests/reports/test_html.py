import dataclasses
import json
import re
import sys
from xml.etree import ElementTree

import pytest

from autoprune.errors import InputError, RunError
from autoprune.reports import write_html
from autoprune.reports.figures._matplotlib import DARK, LIGHT
from autoprune.reports.html.search import search_of
from autoprune.run.report import Report, dense_widths
from autoprune.space import Decision, SearchSpace
from tests.support.pages import HOSTILE, INSIDE, Page
from tests.support.run_folders import report_of, rows_of, six_decisions, write_run


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a run that has every file."""
    return Page(write_html(write_run(tmp_path_factory.mktemp("runs") / "whole", six_decisions())))


def test_the_page_says_what_came_out(page):
    assert page.path.name == "report.html"
    assert "Budget met: 0.343 ms against a limit of 0.357 ms (50%)" in page.text
    assert "2.08\N{MULTIPLICATION SIGN}" in page.text
    results = page.table("network")
    assert list(results) == ["dense", "pruned", "fine-tuned", "uniform baseline"]
    assert results["dense"] == ["92.70 %", "0.715", "0.720", "31.0 M", "272 k"]
    assert results["fine-tuned"][1] == "0.343 48 %"
    assert len(page.pictures) == 3
    assert "No picture" not in page.text


def test_the_policys_table_is_the_policy(page, space):
    policy = json.loads((page.path.parent / "policy.json").read_text())
    rows = page.table("decision")
    expected = {
        d.name: [str(d.width), str(policy["choices"][d.name]), f"{100 * policy['choices'][d.name] / d.width:.0f} %"]
        for d in space.decisions
    }
    assert rows == expected


def test_latency_tables_error_stands_beside_the_macs_only_fit(page):
    rows = page.table("prediction")
    assert rows == {"error": ["1.2 %", "3.4 %", "12"], "error of macs alone": ["8.5 %", "17.0 %", "12"]}
    assert page.table("latency table")["entries"] == ["692"]


def test_settings_and_environment_are_shown(page):
    rows = {row[0]: row[1] for table in page.tables if table[0] == ["name", "value"] for row in table[1:]}
    assert rows["skip"] == "conv1, fc"
    assert rows["weights"] == "none"
    assert rows["python"] == "3.11.2"
    assert rows["images.test"] == "10000"


def test_the_page_is_valid_self_contained_and_without_scripts(page):
    source = page.path.read_text()
    assert source.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert len(page.ids) == len(set(page.ids))
    assert not {"script", "link", "iframe", "object", "metadata"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "srcset", "href") or value.startswith(INSIDE), (tag, name, value)
    assert not re.search(r"https?:|@import|url\((?!#)", source)
    for reference in re.findall(r'(?:url\(|href=")#([^)"]+)', source):
        assert reference in page.ids


def test_pictures_follow_light_and_dark(page):
    """Every picture is there in both palettes, the same but for the colours."""
    light, dark = (dataclasses.asdict(palette) for palette in (LIGHT, DARK))
    assert set(light.values()).isdisjoint(dark.values())
    for picture in page.pictures:
        assert not [colour for colour in dark.values() if colour in picture["light"]]
        assert light["ink"] in picture["light"]
        translated = picture["light"]
        for name, colour in light.items():
            translated = translated.replace(colour, dark[name])
        assert re.sub(r"\bm[0-9a-f]{10}\b", "", translated) == re.sub(r"\bm[0-9a-f]{10}\b", "", picture["dark"])


def test_the_page_and_its_pictures_have_the_same_colours(page):
    style = re.search(r"<style>(.*?)</style>", page.path.read_text(), flags=re.S)[1]
    for palette in (LIGHT, DARK):
        for name in ("ink", "grid", "chosen", "paper"):
            assert f"--{name}: {getattr(palette, name)}" in style
    assert set(re.findall(r"var\((--\w+)\)", style)) <= set(re.findall(r"(--\w+):", style))


def test_the_chosen_episode_is_marked(page):
    best = page.table("episode")
    assert next(iter(best.values()))[-1] == "yes"
    assert "chosen" in page.text


def test_hostile_names_stay_text(tmp_path):
    names = [HOSTILE, "b</td></table>", "$\\frac{", 'id="x" url(#y)', "\N{CJK UNIFIED IDEOGRAPH-6F22}"]
    space = SearchSpace(tuple(Decision(name, 8, (4, 8)) for name in names))
    report = report_of(agent=HOSTILE, target=HOSTILE, baselines={HOSTILE: {"accuracy": 0.5}}, note=HOSTILE)
    folder = write_run(tmp_path / "<b>run & co", space, report=report, rows=rows_of(space, 5))
    page = Page(write_html(folder))
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert list(page.table("decision")) == names
    assert f"{HOSTILE} baseline" in page.table("network")
    assert "<b>run & co" in page.text
    assert all(HOSTILE in "".join(ElementTree.fromstring(svg).itertext()) for svg in page.pictures[0].values())


def test_without_optional_files_the_page_says_what_is_missing(tmp_path, space):
    folder = write_run(
        tmp_path / "run", space, policy=False, settings=False, table=False, report=report_of(latency_table=None)
    )
    (folder / "episodes.jsonl").unlink()
    text = Page(write_html(folder)).text
    for sentence in (
        "This run holds no policy.json.",
        "This run holds no episodes.",
        "This run made no latency table.",
        "Settings and environment were not recorded.",
    ):
        assert sentence in text


def test_null_is_not_measured_never_zero(tmp_path, space):
    nothing = dict.fromkeys(("accuracy", "latency_ms", "latency_ms_predicted", "flops", "params"))
    report = report_of(
        dense=nothing, pruned=nothing, finetuned=nothing, baselines={"uniform": None},
        budget={"kind": "latency", "requested": "50%", "limit": None, "measured": None, "met": None},
        latency_table=None, seconds=None, agent=None, target=None, episodes=None,
    )  # fmt: skip
    rows = [{"episode": 0, "choices": space.dense, "accuracy": None, "predicted_cost": None, "reward": None}]
    page = Page(write_html(write_run(tmp_path / "run", space, report=report, rows=rows, table=False)))
    assert {tuple(cells[::2]) for cells in page.table("decision").values()} == {("unknown", "unknown")}
    assert set(map(tuple, page.table("network").values())) == {("not measured",) * 5}
    assert page.table("budget")["met"] == ["not measured"]
    assert "Budget latency (50%): not measured" in page.text
    assert not re.search(r"\b0(\.0+)? (%|ms)", page.text)


def test_a_missed_budget_says_so(tmp_path, space):
    report = report_of(budget={"kind": "params", "requested": "50k", "limit": 5e4, "measured": 6e4, "met": False})
    text = Page(write_html(write_run(tmp_path / "run", space, report=report))).text
    assert "Budget not met: 60.0 k parameters against a limit of 50.0 k parameters (50k), 20.0 % over" in text


def test_dense_widths_come_from_the_report_or_the_fingerprint(space):
    widths = {d.name: d.width for d in space.decisions}
    plain, policy = Report.of(report_of()), space.uniform(0.5)
    layers = [[d.name, "Conv2d", {"weight": [d.width, 3, 3, 3]}] for d in space.decisions]
    layers += [["", "Net", {}], ["fc", "Linear", {"weight": [10, 64], "bias": [10]}]]
    marked = SearchSpace(space.decisions, model={"name": "x", "layers": layers, "sha256": ""}).uniform(0.5)
    assert dense_widths(Report.of(report_of(decisions=widths)), policy) == widths
    assert dense_widths(plain, marked) == widths
    assert dense_widths(plain, policy) == {}


def test_a_fingerprint_that_cannot_be_the_decisions_width_is_not_used():
    space = SearchSpace(
        (Decision("a", 8, (8,)),), model={"layers": [["a", "ConvTranspose2d", {"weight": [3, 8, 1, 1]}]]}
    )
    assert dense_widths(Report.of({}), space.uniform(1.0)) == {}


def test_without_matplotlib_tables_stay_and_one_line_says_why(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = Page(write_html(run))
    assert not page.pictures
    assert "pip install 'autoprune[report]'" in page.text
    assert len(page.table("decision")) == 6
    assert len(page.table("episode")) == 5


def test_no_picture_leaves_matplotlibs_global_state_alone(run):
    import matplotlib

    before = dict(matplotlib.rcParams)
    write_html(run)
    assert dict(matplotlib.rcParams) == before


def test_a_torn_last_episode_is_left_out_and_left_alone(run):
    path = run / "episodes.jsonl"
    torn = path.read_text() + '{"episode": 60, "acc'
    path.write_text(torn)
    assert "60 episodes" in Page(write_html(run)).text
    assert path.read_text() == torn


def test_a_long_search_stays_a_small_page(tmp_path, space):
    rows = [{**row, "episode": k} for k, row in enumerate(rows_of(space, 20) * 300)]
    assert write_html(write_run(tmp_path / "run", space, rows=rows)).stat().st_size < 1_500_000


@pytest.mark.parametrize(
    ("name", "content", "error", "told"),
    [
        ("report.json", None, RunError, "holds no report.json"),
        ("report.json", "{", InputError, "not valid JSON"),
        ("report.json", "[]", InputError, "JSON object"),
        ("report.json", "{}", InputError, "schema"),
        ("report.json", '{"schema": "autoprune.report/1", "dense": {"flops": "many"}}', InputError, "dense.flops"),
        ("policy.json", "{}", InputError, "policy"),
        ("episodes.jsonl", '{"a\n{}\n', InputError, "line 1 is damaged"),
        ("episodes.jsonl", '{"episode": 0, "accuracy": "high"}\n', InputError, "accuracy is 'high'"),
        ("episodes.jsonl", '{"episode": 0, "reward": NaN}\n', InputError, "reward is nan"),
        ("latency_table.json", "no", InputError, "latency table"),
        ("experiment.yaml", "a: [", InputError, "not YAML"),
    ],
)
def test_damaged_files_are_named_in_one_line_and_nothing_is_written(run, name, content, error, told):
    (run / name).unlink()
    if content is not None:
        (run / name).write_text(content)
    with pytest.raises(error) as caught:
        write_html(run)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (run / "report.html").exists()


def test_a_folder_that_is_not_there_is_no_run(tmp_path):
    with pytest.raises(RunError, match="there is no run at"):
        write_html(tmp_path / "nowhere")


def test_with_tied_layers_the_chosen_episode_is_marked_too(tmp_path):
    """A policy names every group, an episode the decision that they share."""
    episodes = [{"episode": k, "choices": {"a": k}, "cost": 1.0, "accuracy": 0.5, "reward": -k} for k in range(3)]
    policy = SearchSpace((Decision("a", 2, (1, 2)),)).policy({"a": 1}).model_copy(update={"units": {"a": 7, "b": 9}})
    report = Report.of({"schema": "autoprune.report/1", "chosen": {"a": 1}})
    rows = search_of(episodes, report, policy).best.rows
    assert [row[-1].text for row in rows] == ["", "yes", ""]


def test_episodes_of_other_budgets_are_not_among_the_best_of_a_run():
    """One agent was trained for several: the better score of a wider network says nothing about this budget."""
    costs = (1.0, 3.0, 2.0, None)
    episodes = [
        {"episode": k, "choices": {"a": k}, "cost": cost, "accuracy": 0.5, "reward": k} for k, cost in enumerate(costs)
    ]
    report = Report.of({"schema": "autoprune.report/1", "chosen": {"a": 0}})
    best = [[row[0].text for row in search_of(episodes, report, None, limit=limit).best.rows] for limit in (2.0, None)]
    assert best == [["3", "2", "0"], ["3", "2", "1", "0"]]


def test_pictures_of_a_search_have_the_limit_on_the_scale_of_predicted_costs():
    """The dense network was measured at 0.8 times what the table predicts: no episode was over the search's limit."""
    measured = {"kind": "latency", "requested": "50%", "limit": 0.40, "measured": 0.39, "met": True}
    report = Report.of(report_of(budget={**measured, "predicted_limit": 0.50}))
    assert (report.budget.limit, report.budget.in_search.limit) == (0.40, 0.50)
    assert Report.of(report_of(budget=measured)).budget.in_search.limit == 0.40  # of an older run
