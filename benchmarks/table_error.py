"""How far a latency table's predictions are from measurements, beside a fit on multiply-accumulates and the noise.

    python benchmarks/table_error.py --model resnet20 --size 32 --target onnxruntime --policies 30
    python benchmarks/table_error.py --model mobilenet_v1 --size 224 --target openvino --out figures.json
    python benchmarks/table_error.py --model resnet20 --size 28 --channels 1 --kinds channels,bits --policies 50
    python benchmarks/table_error.py --model resnet20 --disturb

Profiles the model, then times further random policies that neither fit has seen, spread from thin to nearly dense,
three times: in three worker processes one after the other. Truth is the least of the three, since what disturbs a
machine adds; how far the two lesser ones differ is the noise that no prediction can be better than. Prints mean and
worst error and rank correlation, all as shares.

Beside them stands what a table would say that knows no layer, as of a target that cannot time one: multiply-accumulates
of whole tiles, learned on the same networks. `--networks FILE` takes the held-out networks and their milliseconds from
the `--out` of an earlier call (with its `--table`), so that nothing is timed again.

`--kinds channels,bits` profiles both number formats of every layer, and holds the table against networks whose formats
are drawn at random, too; the errors of networks stand by the share of their decisions on integers.

`--disturb` profiles the model twice beside a synthetic neighbour on the other core (`neighbour.py`: bursts of memory
traffic and of arithmetic): with every block between two blocks of the reference kernel, and without. Both tables are
held against networks that are timed before and after it, when the neighbour is away: in milliseconds, and as shares of
the dense network. What each table says of itself stands beside.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from neighbour import neighbour
from numpy.typing import NDArray
from scipy.stats import spearmanr

from autoprune.cost.least_squares import errors_of
from autoprune.graph import analyse
from autoprune.hardware import LatencyTable, ProfileSettings, Protocol, Target, check_fingerprint, get_target, profile
from autoprune.hardware.tables.estimation import by_tiles
from autoprune.hardware.tables.sampling import spread_policies
from autoprune.hardware.timing.effort import EFFORTS
from autoprune.models import ZOO
from autoprune.space import BITS, SpaceConstraints
from autoprune.techniques.registry import techniques_of
from autoprune.techniques.space import space_of
from autoprune.techniques.stack import Stack


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20", choices=sorted(ZOO), help="zoo name")
    parser.add_argument("--size", type=int, default=32, help="height and width of the image")
    parser.add_argument("--channels", type=int, default=3, help="channels of the image")
    parser.add_argument("--width", type=float, default=1.0, help="factor on all channels")
    parser.add_argument("--target", default="onnxruntime", help="a target, with options: openvino@bf16")
    parser.add_argument("--granularity", type=int, help="kept widths are multiples of this; default probed")
    parser.add_argument("--kinds", default="channels", help="of decisions; channels, or channels,bits")
    parser.add_argument("--policies", type=int, default=30, help="held-out random policies")
    parser.add_argument("--fit", type=int, default=12, help="networks that the correction is fitted on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", type=Path, help="keep the latency table here; read it back if it exists")
    parser.add_argument("--device-table", type=Path, help="layers of this device, shared by models")
    parser.add_argument("--networks", type=Path, help="an earlier --out: nothing is timed again; needs --table")
    parser.add_argument("--disturb", action="store_true", help="profile beside a synthetic neighbour, with and without")
    parser.add_argument("--timing", default="normal", choices=sorted(EFFORTS), help="of the tables beside a neighbour")
    parser.add_argument("--out", type=Path, help="write the figures and the single networks here, as JSON")
    chosen = parser.parse_args()
    if chosen.networks and not chosen.table:
        parser.error("--networks is of an earlier call; give its --table, too")
    return chosen


@dataclass(frozen=True)
class Subject:
    """What is profiled.

    Attributes:
        model: Dense, not trained: latency depends on no weight.
        stack: The techniques of its decisions.
        example: One image.
        target: Where.
    """

    model: torch.nn.Module
    stack: Stack
    example: torch.Tensor
    target: Target

    @classmethod
    def of(cls, chosen: argparse.Namespace) -> Subject:
        """The model that the command line names."""
        model = ZOO[chosen.model](in_channels=chosen.channels, width=chosen.width).eval()
        example = torch.zeros(1, chosen.channels, chosen.size, chosen.size)
        analysis, limits = (
            analyse(model, example, validate=False),
            SpaceConstraints.parse(kinds=chosen.kinds.split(",")),
        )
        names = dict.fromkeys(["structured", *(BITS.technique for kind in limits.chosen if kind == BITS.name)])
        techniques, target = techniques_of([*names]), get_target(chosen.target)
        grid = chosen.granularity
        space = space_of(analysis, limits, target=target, grid=grid, name=chosen.model, techniques=techniques)
        if not len(space):
            raise SystemExit(f"nothing in {chosen.model} can be pruned")
        return cls(model, Stack(techniques, analysis, space), example, target)

    def network(self, choices: Mapping[str, int]) -> torch.nn.Module:
        """The network of a policy."""
        return self.stack.apply(self.model, choices)

    def policies(self, chosen: argparse.Namespace) -> list[dict[str, int]]:
        """Random ones that no fit sees, as they are carried out."""
        draw = np.random.default_rng(chosen.seed + 1000)
        return [self.stack.settled(each) for each in spread_policies(self.stack.space, chosen.policies, draw)]

    def profiled(self, settings: ProfileSettings, **kept: Any) -> LatencyTable:
        """The table as `autoprune profile` makes it."""
        stack = self.stack
        return profile(
            self.model,
            stack.analysis,
            stack.space,
            self.example,
            self.target,
            settings=settings,
            made=self.network,
            settled=stack.settled,
            effects=stack.effects,
            **kept,
        )


def main() -> None:
    """Profile, measure, compare."""
    torch.set_num_threads(1)
    chosen = arguments()
    subject = Subject.of(chosen)
    space, target = subject.stack.space, subject.target
    if chosen.disturb:
        report = disturbed(chosen, subject)
        print(json.dumps(report, indent=1))
        if chosen.out:
            chosen.out.write_text(json.dumps(report, indent=1) + "\n")
        return
    start = time.perf_counter()
    if chosen.networks:
        table, earlier = LatencyTable.load(chosen.table), json.loads(chosen.networks.read_text())
        check_fingerprint(table.fingerprint, earlier["device"])
        policies = [network["choices"] for network in earlier["networks"]]
        once, twice = np.array([network["ms"] for network in earlier["networks"]]).T
    else:
        table, policies = profiled(chosen, subject), subject.policies(chosen)
    conditions = {
        "device": target.fingerprint(),
        "profile_seconds": round(time.perf_counter() - start, 1),
        "load": round(os.getloadavg()[0], 2),
    }
    if chosen.networks:
        conditions = {name: earlier[name] for name in conditions}
    if not chosen.networks:
        once, twice = timed(subject, policies)
    report = {
        "model": f"{chosen.model} x{chosen.width} at {chosen.channels}x{chosen.size}x{chosen.size}",
        **conditions,
        "decisions": len(space),
        "options": sum(len(d.options) for d in space.decisions),
        "entries": len(table.entries),
        "estimated": table.estimated,
        "fitted_on": sum(run.role == "fit" for run in table.runs),
        "policies": len(policies),
        "factors": {name: round(value, 4) for name, value in table.factors.items()},
        **compared(table, policies, once, twice),
    }
    print(json.dumps(report, indent=1))
    if chosen.out:
        networks = [
            {"choices": c, "ms": [float(a), float(b)], "predicted": table.predict(c)}
            for c, a, b in zip(policies, once, twice, strict=True)
        ]
        chosen.out.write_text(json.dumps({**report, "networks": networks}, indent=1) + "\n")


def profiled(chosen: argparse.Namespace, subject: Subject) -> LatencyTable:
    """The table, kept in a file as it grows."""
    return subject.profiled(
        ProfileSettings(fit_runs=chosen.fit),
        known=LatencyTable.load(chosen.table) if chosen.table and chosen.table.exists() else None,
        device_table=chosen.device_table,
        checkpoint=(lambda unfinished: unfinished.save(chosen.table.resolve())) if chosen.table else None,
    )


def timed(subject: Subject, policies: list[dict[str, int]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Milliseconds of the policies' networks, all interleaved, in fresh processes: the least, and the next."""
    payloads = [subject.target.pack(subject.network(choices), subject.example) for choices in policies]
    protocol = Protocol(block=0.06)
    passes = np.sort([[m.ms for m in subject.target.time(payloads, protocol)] for _ in range(3)], axis=0)
    return passes[0], passes[1]


def compared(
    table: LatencyTable,
    policies: list[dict[str, int]],
    once: NDArray[np.float64],
    twice: NDArray[np.float64],
) -> dict[str, Any]:
    """The errors of the table and of the multiply-accumulates, and the noise."""
    predicted = np.array([table.predict(c) for c in policies])
    by_macs = table.by_macs(policies)
    blind = whole_networks_alone(table)
    return {
        "dense_ms": {"when_profiled": table.runs[0].ms, "predicted": table.predict(table.space.dense)},
        "table": figures(predicted, once),
        # A budget is a share of the dense network timed in the same session: a drift between sessions cancels.
        "table_but_for_drift": figures(predicted * float(np.median(once / predicted)), once),
        "macs_alone": figures(by_macs, once),
        "whole_networks_alone": figures(np.array([blind.predict(c) for c in policies]), once),
        "noise": figures(once, twice),
    }


def disturbed(chosen: argparse.Namespace, subject: Subject) -> dict[str, Any]:
    """Tables that were profiled beside a neighbour, with and without the reference, against a machine without it."""
    policies = [subject.stack.space.dense, *subject.policies(chosen)]
    before, _ = timed(subject, policies)
    found: dict[str, Any] = {}
    for name, reference in (("with reference", True), ("without", False)):
        settings = ProfileSettings.of(EFFORTS[chosen.timing])
        settings = replace(
            settings,
            entries=replace(settings.entries, reference=reference),
            networks=replace(settings.networks, reference=reference),
        )
        start = time.perf_counter()
        with neighbour(chosen.seed):
            table = subject.profiled(settings)
        found[name] = (table, round(time.perf_counter() - start, 1))
    after, _ = timed(subject, policies)
    truth = np.minimum(before, after)
    return {
        "model": f"{chosen.model} x{chosen.width} at {chosen.channels}x{chosen.size}x{chosen.size}",
        "device": subject.target.fingerprint(),
        "load": round(os.getloadavg()[0], 2),
        "policies": len(policies) - 1,
        "noise": figures(before, after),
        **{name: against(table, policies, truth, seconds) for name, (table, seconds) in found.items()},
    }


def against(
    table: LatencyTable, policies: list[dict[str, int]], truth: NDArray[np.float64], seconds: float
) -> dict[str, Any]:
    """One table's errors; the first policy is the dense one."""
    predicted, by_macs = np.array([table.predict(c) for c in policies]), table.by_macs(policies)
    return {
        "seconds": seconds,
        "says of itself": table.error_figures(),
        "in milliseconds": figures(predicted[1:], truth[1:]),
        "as shares of the dense network": figures(predicted[1:] / predicted[0], truth[1:] / truth[0]),
        "macs alone, as shares": figures(by_macs[1:] / by_macs[0], truth[1:] / truth[0]),
    }


def whole_networks_alone(table: LatencyTable) -> LatencyTable:
    """The table without any layer's timing, as of a target that cannot time one."""
    blind = LatencyTable(table.space, table.operators, table.fingerprint, runs=[*table.runs])
    blind.add(by_tiles(blind))
    return blind


def figures(predicted: NDArray[np.float64], ms: NDArray[np.float64]) -> dict[str, float]:
    """Mean and worst relative error, and Spearman's rank correlation."""
    errors = errors_of(predicted, ms)
    correlation = float(spearmanr(predicted, ms).statistic)
    return {"mean": round(errors.mean, 4), "worst": round(errors.worst, 4), "rank_correlation": round(correlation, 4)}


if __name__ == "__main__":
    main()
