"""Valid files of every kind, made by the project's own classes; small, so that a thousand of them are read quickly."""

from pathlib import Path

import torch
import yaml

import autoprune
from autoprune import agents
from autoprune.agents import EpisodeRecord, run_search
from autoprune.envs import toy
from autoprune.foundations.files import write_json
from autoprune.graph import Extent
from autoprune.hardware import LatencyTable, Layer
from autoprune.hardware.tables.correction import Run
from autoprune.hardware.tables.entries import Entry
from autoprune.hardware.tables.operator import PricedOperator
from autoprune.run.experiment import Experiment
from autoprune.space import Decision, SearchSpace


def space() -> SearchSpace:
    """Three decisions of a network of four layers."""
    decisions = (Decision("a", 8, (4, 8)), Decision("b", 12, (4, 8, 12)), Decision("c", 8, (2, 4, 8)))
    about = {
        "name": "tests.support.nets.fuzzed:tiny",
        "arguments": {"in_channels": 3, "classes": 5},
        "example": [1, 3, 8, 8],
    }
    return SearchSpace(decisions, {"fc": "model output"}, about)


def policy():
    choices = {"a": 4, "b": 8, "c": 2}
    kept = {"a": [0, 2, 3, 5], "b": list(range(8)), "c": [1, 7]}
    return space().policy(
        choices, kept=kept, criterion="l1", budget={"kind": "flops", "requested": "50%"}, predicted={"flops": 12.5},
        measured={"accuracy": 0.9, "latency_ms": 0.25}, agent="ddpg", seed=3,
    )  # fmt: skip


def fitting_policy(model):
    """A policy of the network in nets/fuzzed.py, with the fingerprint that it is checked by."""
    made = autoprune.search_space(model, torch.zeros(1, 3, 8, 8))
    about = {
        **made.model,
        "name": "tests.support.nets.fuzzed:tiny",
        "arguments": {"in_channels": 3},
        "example": [1, 3, 8, 8],
    }
    kept = {"a": [0, 2, 3, 5], "b": list(range(8)), "c": [1, 7]}
    choices = {name: len(units) for name, units in kept.items()}
    return made.policy(choices, kept=kept, criterion="l1").model_copy(update={"model": about})


def table() -> LatencyTable:
    conv = {
        "size": (8, 8),
        "out_size": (8, 8),
        "kernel": (3, 3),
        "stride": (1, 1),
        "padding": (1, 1),
        "dilation": (1, 1),
    }
    a, b, c = (Extent(0, ((name, 1),), width) for name, width in (("a", 8), ("b", 12), ("c", 8)))
    operators = (
        PricedOperator("a", Layer("conv", 3, 8, **conv), Extent(3, (), 3), a),
        PricedOperator("b", Layer("conv", 8, 12, **conv), a, b),
        PricedOperator("d", Layer("conv", 12, 12, groups=12, **conv), b, b, b),
        PricedOperator("c", Layer("conv", 20, 8, **conv), Extent(0, (("a", 1), ("b", 1)), 20), c),
        PricedOperator("fc", Layer("linear", 8, 5), c, Extent(5, (), 5)),
    )
    made = LatencyTable(space(), operators, {"cpu": "a processor", "target": "onnxruntime"}, overhead=0.002)
    made.add({key: Entry(1e-6 * (1000 + layer.macs), 0.01) for key, layer in made.layers().items()})
    roles = ["fit"] * 6 + ["held-out"] * 2 + ["search"]
    for seed, role in enumerate(roles):
        choices = space().random(seed).choices
        ms = 0.02 + sum(1.1 * made.entries[each.at(choices).key].ms for each in operators)
        made.runs.append(Run(choices, ms * (1 + 0.001 * seed), 0.003, role))
    return made


def experiment() -> Experiment:
    return Experiment(
        model="resnet20", data="digits", latency="40%", skip=("conv1", "layer1.*"), episodes=40, warmup=10,
        granularity=4, train_epochs=2, finetune_epochs=1, seed=5, run="runs/fuzz",
    )  # fmt: skip


def report() -> dict:
    dense = {"accuracy": 0.92, "latency_ms": 0.7, "latency_ms_predicted": 0.72, "flops": 31021056, "params": 271690}
    small = {**dense, "accuracy": 0.91, "accuracy_seeds": [0.91, 0.905], "latency_ms": 0.34, "flops": 9.8e6}
    return {
        "schema": "autoprune.report/1",
        "model": "resnet20",
        "target": "onnxruntime",
        "dense": dense,
        "pruned": {**small, "latency_stable": True},
        "finetuned": small,
        "baselines": {"uniform": small},
        "budget": {"kind": "latency", "requested": "50%", "limit": 0.35, "measured": 0.34, "met": True},
        "latency_table": {"error": {"mean": 0.01, "worst": 0.03, "n": 12}, "overhead_ms": 0.002},
        "decisions": {"a": 8, "b": 12, "c": 8},
        "seconds": {"profile": 61.2, "search": 241.0},
        "agent": "ddpg",
        "seed": 0,
        "episodes": 12,
        "score_correlation": None,
    }


def agent(name: str):
    """A fresh agent on a toy problem of three decisions."""
    return agents.get(name)(toy(3).env(), episodes=12, warmup=3, seed=0)


def written(folder: Path) -> dict[str, bytes]:
    """A run's files, and an agent's checkpoint, as bytes by name."""
    folder.mkdir(parents=True)
    policy().save(folder / "policy.json")
    table().save(folder / "latency_table.json")
    write_json(folder / "report.json", report())
    settings = experiment().model_dump(mode="json")
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    recorded = {"settings": settings, "environment": {"python": "3.11.2", "torch": "2.13.0", "train_threads": 2}}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(recorded, sort_keys=False))
    write_json(folder / "journal.json", {"granularity": 4, "first search limit": 0.35, "seconds": {"search": 2.5}})
    rows: list[EpisodeRecord] = []
    player = agent("ddpg")
    run_search(player, 8, rows.append)
    rows = player.history = [row.model_copy(update={"seconds": 0.25}) for row in rows]  # the same in every run
    (folder / "episodes.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    player.state_dict().save(folder / "agent.safetensors")
    return {path.name: path.read_bytes() for path in folder.iterdir()}
