"""Patterns on their chips, tables against simulations, and the joint search against its baselines.

    python benchmarks/codesign.py patterns --out codesign
    python benchmarks/codesign.py tables --out codesign
    python benchmarks/codesign.py search --out codesign
    python benchmarks/codesign.py show --out codesign

All on the ResNet-20 that ships, with Fashion-MNIST. Every result is a file of its own in --out, so that the same
command goes on where it was ended; --only and --seeds divide the work.

patterns: masks by magnitude, layer by layer, the stem and the last layer dense; BatchNorm re-estimated; then --epochs
epochs of fine-tuning on the first --images training images under the masks, distilled from the dense network. Accuracy
is of the first --test images of the test split. Each network is simulated on a chip of --lanes multipliers that makes
use of its pattern, with the smallest memories that hold it. A layer keeps the amount nearest to the density that its
groups allow.

tables: --policies random policies of each chip, priced by the search's table (activations of the dense network),
against a simulation of the pruned network with its own activations; and how long pricing takes.

search: `autoprune.codesign` for each seed, without fine-tuning; with --data digits on images of 8x8, in a tenth of the
time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import autoprune
from autoprune import data
from autoprune.cost.chips import BestChip
from autoprune.data.batches import TensorBatches
from autoprune.errors import AutopruneError
from autoprune.evaluation import accuracy
from autoprune.graph import analyse
from autoprune.hardware.accelerators import Accelerator, LayerWork, load_accelerator, workload_of
from autoprune.hardware.accelerators.files import accelerator_of
from autoprune.masks.parsing import family_of
from autoprune.models.copying import duplicate
from autoprune.pipeline.jobs.codesign.arms import arm_of, problem_on, runnable
from autoprune.pipeline.jobs.codesign.designs import Design, family_on, resized
from autoprune.pipeline.jobs.codesign.layers import calls_of
from autoprune.pipeline.jobs.codesign.settings import codesign_settings
from autoprune.pipeline.task import load_task
from autoprune.reconstruction.batch_norm import reestimate_batch_norm
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.techniques.sparsity.tensors import weights_of
from autoprune.training import Trainer, TrainSettings
from autoprune.training.constraint import Masks

PATTERNS = ("unstructured", "column:{lanes}", "bank:{lanes}", "N:8", "N:4", "kernel")
DENSITIES = (0.5, 0.25, 0.125)
_DENSE = ("conv1.weight", "fc.weight")


def main() -> int:
    """Run what is missing of a part, or show what there is; the process's exit status."""
    chosen = _parsed()
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    try:
        {"patterns": _patterns, "tables": _tables, "search": _search, "show": _show}[chosen.part](chosen)
    except AutopruneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("patterns", "tables", "search", "show"))
    parser.add_argument("--out", type=Path, default=Path("codesign"), help="folder of results")
    parser.add_argument("--only", default=",".join(PATTERNS), help="patterns, with commas between them")
    parser.add_argument("--densities", default=",".join(map(str, DENSITIES)), help="with commas between them")
    parser.add_argument("--seeds", default="0,1,2", help="with commas between them")
    parser.add_argument("--images", type=int, default=4000, help="of the training split, for fine-tuning")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--test", type=int, default=4000, help="of the test split")
    parser.add_argument("--lanes", type=int, default=4, help="multipliers of each chip")
    parser.add_argument("--policies", type=int, default=20)
    parser.add_argument("--episodes", type=int, default=24, help="of each of the three searches of a run")
    parser.add_argument("--accelerators", default="eie,balanced,systolic")
    parser.add_argument("--area", default="2mm2")
    parser.add_argument("--objective", default="edp", choices=("latency", "energy", "edp"))
    parser.add_argument("--agent", default="ddpg")
    parser.add_argument(
        "--data", default="fashion-mnist", help="of the searches; on digits the network is trained first"
    )
    parser.add_argument("--data-dir", type=Path, help="folder of the data set's files")
    return parser.parse_args()


def _write(path: Path, content: Mapping[str, Any]) -> None:
    beside = path.with_name(path.name + ".new")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.replace(path)


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text)


# Patterns ---------------------------------------------------------------------------------------------------------


def _patterns(chosen: argparse.Namespace) -> None:
    patterns = [each.format(lanes=chosen.lanes) for each in chosen.only.split(",")]
    for seed in map(int, chosen.seeds.split(",")):
        bench = None
        for density in map(float, chosen.densities.split(",")):
            for pattern in patterns:
                path = chosen.out / f"pattern-{_slug(pattern)}-{density:g}-{seed}.json"
                if path.exists():
                    continue
                bench = bench or PatternBench(chosen, seed)
                result = bench.cell(pattern, density)
                _write(path, result)
                print(f"{pattern} {density:g}, seed {seed}: {result['cut']:.4f} -> {result['tuned']:.4f}", flush=True)


class PatternBench:
    """The dense network and the data of one seed of fine-tuning."""

    def __init__(self, chosen: argparse.Namespace, seed: int) -> None:
        self.chosen, self.seed = chosen, seed
        whole = data.load("fashion-mnist", chosen.data_dir, batch_size=64, seed=seed)
        train, test = whole.train, whole.test
        assert isinstance(train, TensorBatches) and isinstance(test, TensorBatches)
        part = slice(0, chosen.images)
        self.train = TensorBatches(
            train.images[part], train.labels[part], 64, train.normalise,
            shuffle=True, augment=train.augment, seed=seed,
        )  # fmt: skip
        self.test = TensorBatches(test.images[: chosen.test], test.labels[: chosen.test], 250, test.normalise)
        self.calibration, self.example = whole.calibration, whole.example
        task = load_task(Experiment.build(codesign_settings({"model": "resnet20", "data": "fashion-mnist"})))
        self.dense = task.model.eval()
        self.weights = {
            name: weight
            for name, weight in weights_of(analyse(self.dense, self.example)).weights.items()
            if name not in _DENSE
        }

    def cell(self, pattern: str, density: float) -> dict[str, Any]:
        """One pattern at one density: accuracies and figures of its chip."""
        start = time.process_time()
        masks = dict(self._masks(pattern, density))
        network = duplicate(self.dense)
        _zeroed(network, masks)
        reestimate_batch_norm(network, self.calibration)
        cut = accuracy(network.eval(), self.test, bf16=False)
        settings = TrainSettings(epochs=self.chosen.epochs, lr=0.01, warmup_epochs=0.3, distil_weight=0.9)
        settings = replace(settings, seed=self.seed)
        Trainer(network, self.train, settings, teacher=self.dense, constraint=Masks(masks)).run()
        tuned = accuracy(network.eval(), self.test, bf16=False)
        exact = all(not bool(network.get_parameter(name)[~mask].any()) for name, mask in masks.items())
        kept = sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())
        return {
            "pattern": pattern,
            "density": density,
            "kept": kept,
            "seed": self.seed,
            "cut": cut,
            "tuned": tuned,
            "exact": exact,
            "whole_layers": sorted(set(self.weights) - set(masks)),
            **self._on_chip(pattern, network),
            "cpu_seconds": round(time.process_time() - start, 1),
        }

    def _masks(self, pattern: str, density: float) -> Iterator[tuple[str, Tensor]]:
        family = family_of(pattern)
        for name, weight in self.weights.items():
            units, step = family.units(weight.shape), family.step
            for kept in range(max(step, round(density * units / step) * step), units, step):
                one = family.keeping(kept, weight.shape)
                if one.why_not(weight.shape) is None:  # else the next denser amount
                    value = self.dense.get_parameter(name).detach().abs()
                    yield name, weight.planes.back(one.mask(weight.planes.of(value)), value)
                    break

    def _on_chip(self, pattern: str, network: nn.Module) -> dict[str, Any]:
        images = next(iter(self.calibration))[0]
        works = list(workload_of(network, self.example, images, vectors=16))
        chip = smallest(chip_for(pattern, self.chosen.lanes), works)
        cost = chip.total(runnable(chip, works))
        stored = sum(sum(chip.storage_bytes(work).values()) for work in runnable(chip, works))
        return {
            "chip": chip.name,
            "cycles": cost.cycles,
            "ms": chip.ms(cost),
            "energy_mj": cost.energy_mj,
            "area_mm2": chip.area_mm2,
            "utilisation": cost.utilisation,
            "fullest_kb": stored / 1024,
        }


def _zeroed(network: nn.Module, masks: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, mask in masks.items():
            network.get_parameter(name).masked_fill_(~mask, 0)


def chip_for(pattern: str, lanes: int) -> Accelerator:
    """A chip of so many multipliers that makes use of a pattern; where there is none, the one that takes any mask."""
    kind = pattern.partition(":")[0]
    source = {"column": "balanced", "bank": "balanced", "N": "systolic"}.get(kind, "eie")
    content = {**load_accelerator(source).content(), "search": {}}
    if source == "systolic":
        side = max(1, round(lanes**0.5))
        content |= {"pattern": pattern.lower(), "array": {**content["array"], "rows": side, "columns": lanes // side}}
    else:
        count = 1 if kind == "bank" else lanes
        content |= {"pe": {**content["pe"], "count": count}}
        content |= {"pattern": pattern if kind == "bank" else content["pattern"]}
    return accelerator_of(content)


def smallest(chip: Accelerator, works: list[LayerWork]) -> Accelerator:
    """The chip with the smallest memories that hold some layers."""
    needs = [chip.storage_bytes(work) for work in runnable(chip, works)]
    join = max if chip.streams_weights else sum
    sizes = {memory: float(join(each.get(memory, 0.0) for each in needs)) for memory in chip.storage_kb()}
    able = [
        design.chip
        for design in resized(Design(chip, chip.name, {}), {memory: (size, size) for memory, size in sizes.items()})
        if design.chip.capacity_ok(runnable(design.chip, works))
    ]
    return min(able, key=lambda each: each.area_mm2)


# Tables -----------------------------------------------------------------------------------------------------------


def _tables(chosen: argparse.Namespace) -> None:
    for source in chosen.accelerators.split(","):
        path = chosen.out / f"table-{_slug(Path(source).stem)}.json"
        if not path.exists():
            result = table_errors(chosen, source)
            _write(path, result)
            print(json.dumps({k: v for k, v in result.items() if k != "policies"}), flush=True)


def table_errors(chosen: argparse.Namespace, source: str) -> dict[str, Any]:
    """Random policies of one chip: its table against the pruned network with its own activations."""
    chip = accelerator_of({**load_accelerator(source).content(), "search": {}})
    if chip.pattern == "column":  # rows / elements must leave something to balance
        chip = chip.with_knobs({"pe.count": chosen.lanes})
    settings = {"model": "resnet20", "data": "fashion-mnist", "searched": "pruning"}
    experiment = Experiment.build(codesign_settings(settings | {"run": str(chosen.out / "tables" / chip.name)}))
    task = load_task(experiment)
    images = calls_of(task)
    workload = workload_of(task.model, task.example, images, vectors=16)
    with RunDir(experiment.run_dir, experiment, overwrite=True) as run:
        problem = problem_on(task, run, analyse(task.model, task.example), workload, family_on(chip))
        arm = arm_of(problem.ranked(lambda _: {}), workload, [Design(chip, source, {})], float("inf"), lambda: None)
        rows = []
        for seed in range(chosen.policies):
            choices = arm.problem.space.complete(arm.problem.space.random(seed).choices)
            sums = arm.tables.sums(arm.problem.space.indices(choices)[None])
            pruned = arm.problem.prepared(choices)
            own = chip.total(runnable(chip, workload_of(pruned, task.example, images, vectors=16)))
            rows.append((sums.ms[0, 0] / chip.ms(own) - 1, sums.mj[0, 0] / own.energy_mj - 1))
        errors = np.abs(np.array(rows))
        return {
            "chip": chip.name,
            "pattern": arm.family,
            "policies": [[float(each) for each in row] for row in rows],
            "latency_mean": float(errors[:, 0].mean()),
            "latency_worst": float(errors[:, 0].max()),
            "energy_mean": float(errors[:, 1].mean()),
            "energy_worst": float(errors[:, 1].max()),
            "ms_for_a_policy_on_1000_chips": _pricing_ms(arm.tables),
        }


def _pricing_ms(tables: Any) -> float:
    """Milliseconds until one policy is priced on 1,000 chips."""
    cost = BestChip(tables.only(np.zeros(1000, dtype=np.int64)), "edp")
    policy = cost.space.indices({})[None]
    times = []
    for _ in range(50):
        start = time.perf_counter()
        cost.objective.of(*(lambda sums: (sums.ms, sums.mj))(cost.every.sums(policy))).min(axis=1)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


# Search -----------------------------------------------------------------------------------------------------------


def _search(chosen: argparse.Namespace) -> None:
    for seed in map(int, chosen.seeds.split(",")):
        result = autoprune.codesign(
            "resnet20",
            data=chosen.data,
            data_dir=chosen.data_dir,
            accelerator=chosen.accelerators,
            area=chosen.area,
            objective=chosen.objective,
            agent=chosen.agent,
            episodes=chosen.episodes,
            levels=3,
            chips=24,
            vectors=8,
            finetune_epochs=0,
            train_threads=1,
            seed=seed,
            run=chosen.out / f"search-{chosen.data}-{chosen.objective}-{seed}",
            resume=True,
        )
        print(f"seed {seed}: {json.dumps(gains(result.report))}", flush=True)


def gains(report: Mapping[str, Any]) -> dict[str, float]:
    """By how much each baseline exceeds the joint search's objective at no more than the allowed loss."""
    key = {"latency": "latency_ms", "energy": "energy_mj", "edp": "edp_mj_ms"}[report["objective"]]
    allowed = report["dense"]["search_score"] - report["accuracy_drop"] / 100
    found = {}
    for name, points in report["baselines"].items():
        able = [each[key] for each in points if each["search_score"] >= allowed]
        found[name] = min(able) / report["chosen"][key] if able else float("inf")
    return found


# What there is ----------------------------------------------------------------------------------------------------


def _show(chosen: argparse.Namespace) -> None:
    print(pattern_table([json.loads(path.read_text()) for path in sorted(chosen.out.glob("pattern-*.json"))]))
    for path in sorted(chosen.out.glob("table-*.json")):
        row = json.loads(path.read_text())
        print(
            f"| {row['chip']} | {row['pattern']} | {row['latency_mean']:.2%} | {row['latency_worst']:.2%} |"
            f" {row['energy_mean']:.2%} | {row['energy_worst']:.2%} | {row['ms_for_a_policy_on_1000_chips']:.2f} |"
        )
    for kind in sorted({path.parent.name.rpartition("-")[0] for path in chosen.out.glob("search-*/report.json")}):
        print(kind)
        print(search_table([json.loads(path.read_text()) for path in sorted(chosen.out.glob(f"{kind}-*/report.json"))]))


def pattern_table(rows: list[dict[str, Any]]) -> str:
    """A line a pattern and density, mean and sample standard deviation over the seeds that there are."""
    lines = [
        "| pattern | kept | cut, % | tuned, % | cycles | uJ | mm2 | lanes busy | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for density in sorted({row["density"] for row in rows}, reverse=True):
        for pattern in dict.fromkeys(row["pattern"] for row in rows):
            mine = [row for row in rows if (row["density"], row["pattern"]) == (density, pattern)]
            if mine:
                first = mine[0]
                lines.append(
                    f"| {pattern} on {first['chip']} | {first['kept']:.3f} | {100 * first['cut']:.2f} |"
                    f" {_mean([100 * row['tuned'] for row in mine])} |"
                    f" {_mean([row['cycles'] for row in mine], ',.0f')} |"
                    f" {_mean([1e3 * row['energy_mj'] for row in mine], '.1f')} | {first['area_mm2']:.3f} |"
                    f" {100 * statistics.mean(row['utilisation'] for row in mine):.0f} % | {len(mine)} |"
                )
    return "\n".join(lines)


def search_table(reports: list[dict[str, Any]]) -> str:
    """A line a baseline: its objective over the joint search's, and hypervolumes, over the seeds that there are."""
    lines = ["| search | objective over joint's | hypervolume | seeds |", "|---|---|---|---|"]
    found = [gains(report) for report in reports]
    for name in reports[0]["baselines"]:
        volumes = [report["hypervolumes"][name] for report in reports]
        able = [each[name] for each in found if np.isfinite(each[name])]
        lost = len(found) - len(able)
        shown = [*([_mean(able)] if able else []), *([f"{lost} of {len(found)} lose more"] if lost else [])]
        lines.append(f"| {name} | {'; '.join(shown)} | {_mean(volumes, '.3f')} | {len(found)} |")
    volumes = [report["hypervolumes"]["joint"] for report in reports]
    return "\n".join([*lines, f"| joint | 1 | {_mean(volumes, '.3f')} | {len(found)} |"])


def _mean(values: list[float], form: str = ".2f") -> str:
    spread = f" ± {statistics.stdev(values):{form}}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{form}}{spread}"


if __name__ == "__main__":
    sys.exit(main())
