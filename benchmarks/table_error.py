"""How far a latency table's predictions are from measurements, beside a fit on multiply-accumulates alone.

    python benchmarks/table_error.py --model resnet20 --size 28 --channels 1 --target onnxruntime --policies 30

Profiles the model, then times further random policies that neither fit has seen, spread from thin to nearly dense.
Prints mean and worst error, rank correlation, and the spread of the measurements themselves: where the machine's
noise is of the size of the error, the error says nothing about the table.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from autoprune.graph import Analysis, analyse, cut
from autoprune.hardware import LatencyTable, get_target, measure, options, profile
from autoprune.hardware.correction import errors_of, fit_macs
from autoprune.hardware.profiling import spread_policies
from autoprune.models import ZOO
from autoprune.space import Decision, SearchSpace


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20", choices=sorted(ZOO), help="zoo name")
    parser.add_argument("--size", type=int, default=28, help="height and width of the image")
    parser.add_argument("--channels", type=int, default=1, help="channels of the image")
    parser.add_argument("--width", type=float, default=1.0, help="factor on all channels")
    parser.add_argument("--target", default="onnxruntime", help="where")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--policies", type=int, default=30, help="held-out random policies")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", type=Path, help="keep the table here; read it back if it exists")
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    return parser.parse_args()


def main() -> None:
    """Profile, measure, compare."""
    torch.set_num_threads(1)
    chosen = arguments()
    target = get_target(chosen.target, threads=chosen.threads)
    model = ZOO[chosen.model](in_channels=chosen.channels, width=chosen.width).eval()
    example = torch.zeros(1, chosen.channels, chosen.size, chosen.size)
    analysis = analyse(model, example, validate=False)
    space = SearchSpace(
        tuple(Decision(group.name, group.width, options(group.width, target)) for group in analysis.groups),
        model={"name": chosen.model, "sha256": analysis.fingerprint["sha256"]},
    )
    start = time.perf_counter()
    known = LatencyTable.load(chosen.table) if chosen.table and chosen.table.exists() else None
    keep = chosen.table.resolve() if chosen.table else None
    table = profile(
        model,
        analysis,
        space,
        example,
        target,
        known=known,
        checkpoint=(lambda unfinished: unfinished.save(keep)) if keep else None,
    )
    seconds = time.perf_counter() - start
    policies = spread_policies(space, chosen.policies, np.random.default_rng(chosen.seed + 1000))
    networks = [cut(model, analysis, {name: range(kept) for name, kept in choices.items()}) for choices in policies]
    dense, *measured = measure([model, *networks], example, target)
    ms = np.array([m.ms for m in measured])
    predicted = np.array([table.predict(choices) for choices in policies])
    by_macs = _by_macs(table, [analysis.macs(choices) for choices in policies], analysis)
    report = {
        "model": f"{chosen.model} x{chosen.width} at {chosen.channels}x{chosen.size}x{chosen.size}",
        "device": target.fingerprint(),
        "profile_seconds": round(seconds, 1),
        "entries": len(table.entries),
        "estimated": table.estimated,
        "policies": len(policies),
        "dense_ms": {"when_profiled": table.runs[0].ms, "now": dense.ms, "predicted": table.predict({})},
        "table": _figures(predicted, ms),
        # A budget is a share of the dense network timed in the same session: a drift between sessions cancels.
        "table_share_of_dense": _figures(predicted / table.predict({}), ms / dense.ms),
        "macs_alone": _figures(by_macs, ms),
        "measurement_spread": {
            "median": round(float(np.median([m.spread for m in measured])), 4),
            "largest": round(max(m.spread for m in measured), 4),
            "unstable": sum(not m.stable for m in measured),
            "load": max((m.conditions["load"] or 0.0) for m in measured),
        },
    }
    print(json.dumps(report, indent=1))
    if chosen.out:
        chosen.out.write_text(json.dumps(report, indent=1) + "\n")


def _by_macs(table: LatencyTable, macs: list[int], analysis: Analysis) -> np.ndarray:
    """Predictions of the same fit on multiply-accumulates, from the same end-to-end runs."""
    runs = [run for run in table.runs if run.role == "fit"]
    known = np.array([float(analysis.macs(run.choices)) for run in runs])
    slope, constant = fit_macs(known, np.array([run.ms for run in runs]))
    return slope * np.array(macs, dtype=float) + constant


def _figures(predicted: np.ndarray, ms: np.ndarray) -> dict[str, float]:
    errors = errors_of(predicted, ms)
    correlation = float(spearmanr(predicted, ms).statistic)
    return {"mean": round(errors.mean, 4), "worst": round(errors.worst, 4), "rank_correlation": round(correlation, 4)}


if __name__ == "__main__":
    main()
