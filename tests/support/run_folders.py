"""Runs as the pipeline leaves them, without running it."""

import json

import numpy as np
import yaml

from autoprune.agents import EpisodeRecord
from autoprune.hardware.tables.latency_table import LatencyTable
from autoprune.space import Decision, SearchSpace

LIMIT, DENSE_MS = 0.3575, 0.715


def six_decisions():
    """The search space of a small network."""
    names = ["conv1", "layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "layer2.0.conv2", "layer3.0.conv1"]
    widths = [16, 16, 16, 32, 32, 64]
    return SearchSpace(
        tuple(Decision(n, w, tuple(range(4, w + 1, 4))) for n, w in zip(names, widths, strict=True)),
        frozen={"fc": "model output"},
        model={"name": "resnet20"},
    )


def rows_of(space, count, seed=0, warmup=10):
    """Plausible episodes: wider networks cost more and score better; every seventh repeats a policy."""
    draw = np.random.default_rng(seed)
    rows = []
    for k in range(count):
        choices = space.random(seed=int(draw.integers(1 << 30))).choices
        keep = np.mean([choices[d.name] / d.width for d in space.decisions])
        cost = float(min(LIMIT, DENSE_MS * (0.1 + 0.8 * keep) * draw.uniform(0.95, 1.05) * 0.9))
        accuracy = float(np.clip(0.55 + 0.5 * keep * draw.uniform(0.8, 1.1) + 0.1 * k / count, 0, 0.95))
        record = EpisodeRecord(
            episode=k,
            agent="ddpg",
            choices=choices,
            accuracy=accuracy,
            predicted_cost=cost,
            reward=accuracy - 1,
            seconds=0.8,
            cached=k % 7 == 6,
            warmup=k < warmup,
        )
        rows.append(record.to_row())
    return rows


def report_of(**changes):
    """What the pipeline writes into report.json."""
    dense = {
        "accuracy": 0.927,
        "latency_ms": DENSE_MS,
        "latency_ms_predicted": 0.72,
        "flops": 31021056,
        "params": 271690,
    }
    pruned = {"accuracy": 0.711, "latency_ms": 0.343, "latency_ms_predicted": 0.35, "flops": 9.8e6, "params": 88123}
    content = {
        "schema": "autoprune.report/1",
        "model": "resnet20",
        "data": "fashion-mnist",
        "images": {"train": 55000, "test": 10000},
        "target": "onnxruntime",
        "device": {"cpu": "a processor", "runtime": "onnxruntime 1.22"},
        "dense": dense,
        "pruned": pruned,
        "finetuned": {**pruned, "accuracy": 0.918, "accuracy_seeds": [0.918, 0.921, 0.915], "latency_stable": True},
        "baselines": {"uniform": {**pruned, "accuracy": 0.912, "latency_ms": 0.351}},
        "budget": {"kind": "latency", "requested": "50%", "limit": 0.3575, "measured": 0.343, "met": True},
        "latency_table": {
            "target": "onnxruntime",
            "entries": 692,
            "estimated": 0,
            "fitted_on": 28,
            "error": {"mean": 0.012, "worst": 0.034, "networks": 12},
            "error_of_macs_alone": {"mean": 0.085, "worst": 0.17, "networks": 12},
        },
        "seconds": {"profile": 61.2, "search": 241.0, "finetune": 380.5},
        "agent": "ddpg",
        "seed": 0,
        "episodes": 60,
    }
    return {**content, **changes}


def write_run(folder, space, *, report=None, rows=None, policy=True, settings=True, table=True):
    """A finished run's files, as many of them as asked for."""
    folder.mkdir(parents=True)
    rows = rows_of(space, 60) if rows is None else rows
    (folder / "report.json").write_text(json.dumps(report_of(decisions=space.units({})) if report is None else report))
    (folder / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if policy:
        best = max(rows, key=lambda row: row["reward"])["choices"] if rows else space.dense
        space.policy(best, agent="ddpg", kept={n: list(range(k)) for n, k in best.items()}).save(folder / "policy.json")
    if settings:
        content = {
            "settings": {"model": "resnet20", "skip": ["conv1", "fc"], "latency": "50%", "weights": None},
            "environment": {"python": "3.11.2", "torch": "2.13.0"},
        }
        (folder / "experiment.yaml").write_text(yaml.safe_dump(content))
    if table:
        LatencyTable(space, (), {"target": "onnxruntime"}).save(folder / "latency_table.json")
    return folder
