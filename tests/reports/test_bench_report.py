import io
import json
import sys

from rich.console import Console

from autoprune.reports.bench import bench_lines, bench_tables
from autoprune.reports.html.bench_page import write_bench
from tests.support.pages import HOSTILE, Page


def figures(accuracy, scale):
    sizes = {"flops": 31_000_000, "params": 272_000, "safetensors_bytes": 1_110_000, "onnx_bytes": 1_170_000}
    return {"accuracy": accuracy, **{name: int(scale * size) for name, size in sizes.items()}}


def latency(ms, memory=70.2, stable=True):
    return {
        "latency_ms": ms,
        "latency_least_ms": 0.9 * ms,
        "latency_most_ms": 1.1 * ms,
        "stable": stable,
        "clock": "cpu",
        "peak_memory_mb": memory,
    }


def content_of(name="runs/demo"):
    ratio = {"median": 0.5, "least": 0.4915, "most": 0.5121, "values": [0.4915, 0.5, 0.5121]}
    ok = {"available": True, "reason": None, "device": {"target": "onnxruntime", "threads": "1"}, "ratio": ratio}
    return {
        "schema": "autoprune.bench/1",
        "subject": {"name": name, "example": [1, 1, 28, 28], "run": name},
        "unscored": None,
        "repetitions": 3,
        "networks": {"dense": figures(0.9393, 1), "pruned": figures(0.9376, 0.25)},
        "targets": {
            "onnxruntime": {**ok, "dense": latency(0.348), "pruned": latency(0.174, 68.6)},
            "torch": {**ok, "dense": latency(1.8, None, stable=False), "pruned": latency(0.9, None)},
            "executorch": {"available": False, "reason": "executorch is not installed"},
        },
    }


def printed(content):
    console = Console(width=80, record=True, file=io.StringIO())
    for table in bench_tables(content):
        console.print(table)
    return console.export_text()


def test_the_tables_say_what_was_measured():
    text = printed(content_of())
    row = next(line.split() for line in text.splitlines() if "onnxruntime" in line)
    assert row == ["onnxruntime", "0.348", "0.174", "50.0", "%", "2.00\N{MULTIPLICATION SIGN}", "70,", "69"]
    assert "49.1\N{EN DASH}51.2 %" in text
    assert "executorch" not in text
    assert "\N{MINUS SIGN}0.17" in text
    assert bench_lines(content_of()) == [
        "executorch: executorch is not installed",
        "not stable, the machine was noisy: torch",
    ]


def test_the_page_holds_the_same_and_escapes_names(tmp_path):
    content = content_of(HOSTILE)
    content["targets"][HOSTILE] = content["targets"].pop("torch")
    written = write_bench(content, tmp_path / "new")
    assert [path.name for path in written] == ["bench.json", "bench.html", "bench.png"]
    assert json.loads(written[0].read_text()) == content
    page = Page(written[1])
    assert page.table("target")["onnxruntime"] == [
        "0.348", "0.174", "50.0 % 49.1\N{EN DASH}51.2 %", "2.00\N{MULTIPLICATION SIGN}", "70, 69",
    ]  # fmt: skip
    assert page.table("target")[HOSTILE][-1] == "not measured"
    assert "script" not in page.tags
    assert len(page.pictures) == 1
    assert written[2].read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    written = write_bench(content_of(), tmp_path)
    assert [path.name for path in written] == ["bench.json", "bench.html"]
    assert "No picture" in Page(written[1]).text


def test_a_network_alone(tmp_path):
    content = content_of()
    del content["networks"]["pruned"]
    for row in content["targets"].values():
        row.pop("pruned", None), row.pop("ratio", None)
    text = printed(content)
    assert "0.348" in text
    assert len(Page(write_bench(content, tmp_path)[1]).pictures) == 1
