import io
import statistics

import pytest
from rich.console import Console

from autoprune.errors import InputError
from autoprune.reports import summary_lines, summary_table
from autoprune.reports.tables import columns, figure_rows
from autoprune.run.report import Report
from tests.support.run_folders import report_of

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


def shown(table, width=80):
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_every_figure_stands_beside_its_share_of_the_dense_one():
    report = Report.of(report_of())
    rows = dict(figure_rows(report))
    dense = dict(zip(columns(report), rows["dense"], strict=True))
    small = dict(zip(columns(report), rows["fine-tuned"], strict=True))
    assert dense == {
        "accuracy": ("92.70 %", ""),
        "latency ms": ("0.715", ""),
        "predicted": ("0.720", ""),
        "MACs": ("31.0 M", ""),
        "params": ("272 k", ""),
    }
    seeds = [0.918, 0.921, 0.915]
    assert (
        small["accuracy"][0] == f"{100 * sum(seeds) / 3:.2f} \N{PLUS-MINUS SIGN} {100 * statistics.stdev(seeds):.2f} %"
    )
    assert small["accuracy"][1] == f"{MINUS}0.90"
    assert small["latency ms"] == ("0.343", f"{100 * 0.343 / 0.715:.0f} %")
    assert small["MACs"][1] == f"{100 * 9.8e6 / 31021056:.0f} %"
    assert rows["uniform baseline"][0] == ("91.20 %", f"{MINUS}1.50")


def test_table_fits_80_columns_uncut():
    text = shown(summary_table(report_of()))
    assert "uniform baseline" in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert "91.80 \N{PLUS-MINUS SIGN} 0.30 %" in text


def test_what_was_not_measured_is_a_dash_never_zero():
    report = report_of(dense={"accuracy": None}, pruned=None, finetuned={"accuracy": 0.9}, baselines={"uniform": None})
    rows = dict(figure_rows(Report.of(report)))
    assert rows["dense"] == [(DASH, "")] * 5
    assert rows["pruned"] == [(DASH, "")] * 5
    assert rows["fine-tuned"] == [("90.00 %", "")] + [(DASH, "")] * 4
    assert rows["uniform baseline"] == [(DASH, "")] * 5
    assert " 0.0" not in shown(summary_table(report))


def test_lines_name_budget_speedup_drop_and_time():
    lines = summary_lines(report_of())
    assert lines[0] == "budget: latency in ms, requested 50%, limit 0.357 ms, measured 0.343 ms: met"
    assert lines[1] == f"speed-up as measured on onnxruntime: {0.715 / 0.343:.2f}\N{MULTIPLICATION SIGN}"
    assert lines[2].startswith(f"accuracy against dense: {MINUS}0.90 percentage points (mean of 3")
    assert lines[3] == "time: 11:23 min (profile 1:01 min, search 4:01 min, finetune 6:20 min)"


def test_a_missed_budget_says_by_how_much():
    report = report_of(budget={"kind": "flops", "requested": "50%", "limit": 100e6, "measured": 103e6, "met": False})
    line = summary_lines(report)[0]
    assert line.endswith("limit 100 M MACs, measured 103 M MACs: NOT met, 3.0 % over")


def test_a_report_without_anything_still_gives_a_line():
    assert summary_lines({}) == [
        f"budget: latency in ms, requested {DASH}, limit {DASH}, measured {DASH}: not measured"
    ]


@pytest.mark.parametrize(
    "change", [{"dense": {"accuracy": "high"}}, {"dense": 7}, {"baselines": []}, {"dense": {"flops": float("nan")}}]
)
def test_values_of_the_wrong_kind_are_named_in_one_line(change):
    with pytest.raises(InputError) as caught:
        summary_table(report_of(**change))
    assert next(iter(change)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_with_markup_is_shown_as_it_stands():
    text = shown(summary_table(report_of(baselines={"[red]x[/nope]": {"accuracy": 0.5}})))
    assert "[red]x[/nope]" in text.replace("\n", "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (512, "512"),
        (999.4, "999.4"),
        (999_600, "1.00 M"),
        (271_690, "272 k"),
        (99_960, "100 k"),
        (2.5e9, "2.50 G"),
    ],
)
def test_counts_keep_three_digits(value, text):
    from autoprune.reports.format import count

    assert count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.21, "4.2 s"), (59.97, "1:00 min"), (200, "3:20 min"), (7300, "2:01 h")]
)
def test_durations(seconds, text):
    from autoprune.reports.format import duration

    assert duration(seconds) == text


def test_a_timing_that_was_not_stable_is_marked_in_the_table_and_in_the_sentences():
    """The same architecture was once shown as 0.072 and 0.105 ms, "1.15x as measured", with no word about it."""
    steady = report_of()
    assert not any("~" in line for line in summary_lines(steady))
    report = report_of()
    report["finetuned"] = {**report["finetuned"], "latency_stable": False}
    rows = dict(figure_rows(Report.of(report)))
    assert rows["fine-tuned"][1][0] == "~0.343" and rows["dense"][1][0] == "0.715"
    lines = summary_lines(report)
    assert any(line.startswith("speed-up") and "~2.08" in line and "not stable" in line for line in lines)
    assert any(line.startswith("budget: ") and line.endswith("(~ the timing was not stable)") for line in lines)
    assert any(line.startswith("~ not stable") and "(fine-tuned)" in line for line in lines)
