"""What a study of lottery tickets must show, point by point; every command writes a file a result and can be ended.

    python benchmarks/lottery.py digits --out tickets
    python benchmarks/lottery.py fashion --out tickets --seed 0        # and 1, 2, 3, 4
    python benchmarks/lottery.py drift --out tickets
    python benchmarks/lottery.py resnet --out tickets --rewind 500     # and 0
    python benchmarks/lottery.py transfer --out tickets
    python benchmarks/lottery.py stack --out tickets
    python benchmarks/lottery.py widths --out tickets
    python benchmarks/lottery.py kills --out tickets
    python benchmarks/lottery.py table --out tickets

`digits` is the study of the README with forms of all rounds timed. `fashion` trains LeNet-300-100 on the first 8,000
images of Fashion-MNIST's training split (in the order of hashes, not augmented), batches of 60, Adam at 1.2e-3 under
the cosine, 6 epochs of 133 steps, a network scored after each; the rates of Frankle and Carbin. `drift` trains 1,000
steps under masks with each optimiser, in both precisions, and counts what is not zero then, in weights, in the
optimiser's state, in the average, after a reload. `resnet` is a
smoke test of a ResNet-20 of four channels. `transfer` carries tickets of LeNet-300-100 from 4,000 images of
Fashion-MNIST to the digits at 28 pixels and back, and between 4,000 images of each half of Fashion-MNIST's classes.
`stack` times networks alone and as one. `widths` turns tickets of a ResNet-20 of eight channels on the digits into
channels, beside uniform and random widths of as long. `kills` ends studies by SIGKILL at 20
random moments in all and compares what they come to with a study that was left alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import autoprune
from autoprune import data
from autoprune.cli.main import run as run_command
from autoprune.data.batches import TensorBatches
from autoprune.masks.ladder import first_masks, kept_after, pruned_in_layers
from autoprune.models import build
from autoprune.pipeline.jobs.lottery.destinations import in_size
from autoprune.pipeline.jobs.lottery.figures import StudyRows, comparisons, delivered_round, rounds_of
from autoprune.run.score import ACCURACY
from autoprune.training import Trainer, TrainSettings
from autoprune.training.constraint import Masks
from autoprune.training.epochs import InEpochs, Remembered
from autoprune.training.stacked import Member, StackedTrainer

IMAGES, FEW, BATCH = 8000, 4000, 60
SIZES = {"fc1.weight": 784 * 300, "fc2.weight": 300 * 100, "fc3.weight": 100 * 10}
COMMON: dict[str, Any] = {"train_threads": 1, "timing": "quick"}


def fashion() -> data.DataSet:
    """A part of Fashion-MNIST, not augmented."""
    return _first("fashion-mnist", IMAGES)


def _first(name: str, images: int) -> data.DataSet:
    """The first training images of a data set, not augmented."""
    whole = data.load(name, None, batch_size=BATCH, seed=0)
    train = whole.train
    assert isinstance(train, TensorBatches)
    part = TensorBatches(
        train.images[:images], train.labels[:images], BATCH, train.normalise, shuffle=True, seed=train.seed
    )
    return replace(whole, train=part, counts=dict(whole.counts) | {"train": len(part.images)})


def few_fashion() -> data.DataSet:
    """As many images as the digits can be held against."""
    return _first("fashion-mnist", FEW)


def clothes() -> data.DataSet:
    """The classes 0 to 4 of Fashion-MNIST."""
    return _first("fashion-mnist@0-4", FEW)


def others() -> data.DataSet:
    """The classes 5 to 9 of Fashion-MNIST: shoes, bags and shirts."""
    return _first("fashion-mnist@5-9", FEW)


def large_digits() -> data.DataSet:
    """The digits in the size of Fashion-MNIST's images."""
    return in_size(data.load("digits", None, batch_size=BATCH, seed=0), (1, 28, 28))


# Points 1, 2, 5 and 8: studies ----------------------------------------------------------------------------------------


def run_digits(chosen: argparse.Namespace) -> None:
    """Points 1 and 8."""
    run = chosen.out / "digits"
    autoprune.lottery(
        "lenet_300_100", data="digits", rounds=15, seeds=5, layer_rate=("fc3=0.1",), train_epochs=30,
        forms="channels,2:4,csr", form_rounds=[7, 9, 12, 15], run=run, resume=run.exists(), **COMMON,
    )  # fmt: skip


def run_fashion(chosen: argparse.Namespace) -> None:
    """Point 2, one seed."""
    run = chosen.out / f"fashion-{chosen.seed}"
    autoprune.lottery(
        "lenet_300_100", data="lottery:fashion", rounds=15, controls="reinit", layer_rate=("fc3=0.1",), train_epochs=6,
        optimizer="adamw", lr=6e-4, weight_decay=0.0, label_smoothing=0.0, seeds=1, seed=chosen.seed, stacked="no",
        run=run, resume=run.exists(), **COMMON,
    )  # fmt: skip


TRANSFERS = (
    ("few_fashion", "large_digits"),
    ("large_digits", "few_fashion"),
    ("clothes", "others"),
    ("others", "clothes"),
)


def run_transfer(chosen: argparse.Namespace) -> None:
    """Point 6: five rounds of 40 %, the round that is handed over is carried over."""
    for one, other in TRANSFERS:
        run = chosen.out / f"transfer-{one}-{other}"
        autoprune.lottery(
            "lenet_300_100", data=f"lottery:{one}", transfer=f"lottery:{other}", rounds=5, rate=0.4, controls="",
            seeds=chosen.seeds, train_epochs=20, batch_size=BATCH, run=run, resume=run.exists(), **COMMON,
        )  # fmt: skip


def run_resnet(chosen: argparse.Namespace) -> None:
    """Point 5, as a smoke test: global pruning to 16.6 % in three rounds, with the barrier of the step."""
    run = chosen.out / f"resnet-{chosen.rewind}-{chosen.seed}"
    controls = "reinit,lr-rewind" if chosen.rewind else "reinit"
    autoprune.lottery(
        "lottery:thin_resnet20", data="fashion-mnist", rounds=3, rate=0.45, per="global", skip=("fc",), seeds=1,
        rewind=chosen.rewind, controls=controls, stability=str(chosen.rewind), train_epochs=2, batch_size=64,
        seed=chosen.seed, run=run, resume=run.exists(), **COMMON,
    )  # fmt: skip


def run_widths(chosen: argparse.Namespace) -> None:
    """Point 8, channels: rounds of 50 % over all layers."""
    run = chosen.out / "widths"
    autoprune.lottery(
        "lottery:half_resnet20", data="digits", rounds=2, rate=0.5, per="global", skip=("fc",), rewind=8, controls="",
        forms="channels", form_rounds=[2], seeds=chosen.seeds, train_epochs=12, run=run, resume=run.exists(), **COMMON,
    )  # fmt: skip


def half_resnet20() -> nn.Module:
    """Eight, sixteen and thirty-two channels."""
    return build("resnet20", in_channels=1, classes=10, width=0.5)


def thin_resnet20() -> nn.Module:
    """Four, eight and sixteen channels."""
    return build("resnet20", in_channels=1, classes=10, width=0.25)


# Point 3: drift -------------------------------------------------------------------------------------------------------


def run_drift(chosen: argparse.Namespace) -> None:
    """Pruned weights, and what the optimiser keeps of them, that are not zero after 1,000 steps: there must be none."""
    whole = data.load("digits", None, batch_size=128, seed=0)
    found = {}
    for name, own in {
        "SGD, Nesterov, decay": {"optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4},
        "AdamW, decay": {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 0.1},
        "SGD, EMA": {"optimizer": "sgd", "lr": 0.1, "ema": 0.99},
        "AdamW, bfloat16": {"optimizer": "adamw", "lr": 2e-3, "bf16": True},
    }.items():
        settings = TrainSettings(epochs=1 + 1000 // len(whole.train), distil_weight=0.0, **({"bf16": False} | own))  # type: ignore[arg-type]
        network = build("lenet_300_100", in_channels=1, classes=10, image_size=16, seed=0)
        masks = _masks(network, rounds=7)
        trainer = Trainer(network, InEpochs(whole.train), settings, constraint=Masks(masks))
        trainer.run(settings.epochs // 2)
        again = build("lenet_300_100", in_channels=1, classes=10, image_size=16, seed=1)
        other = Trainer(again, InEpochs(whole.train), settings, constraint=Masks(masks))
        other.load_state_dict(trainer.state_dict())
        other.run()
        states = [other.optimizer.state[again.get_parameter(name)].values() for name in masks]
        tensors = [(again.get_parameter(name).detach(), mask) for name, mask in masks.items()]
        tensors += [(t, mask) for held, mask in zip(states, masks.values(), strict=True) for t in held
                    if isinstance(t, Tensor) and t.shape == mask.shape]  # fmt: skip
        revived = sum(int((tensor[~mask] != 0).sum()) for tensor, mask in tensors)
        found[name] = {"steps": other.steps, "tensors": len(tensors), "revived": revived}
    ties = {"w": torch.ones(1000, 10)}
    kept = int(pruned_in_layers(ties, first_masks(ties), {"w": 0.2}, 1)["w"].sum())
    found["all weights equal"] = {"kept": kept, "of": 10_000, "by the formula": kept_after(10_000, 0.2, 1)}
    _write(chosen.out / "drift.json", found)


def _masks(network: nn.Module, rounds: int) -> dict[str, Tensor]:
    weights = {name: p.detach() for name, p in network.named_parameters() if p.ndim > 1}
    masks: Mapping[str, Tensor] = first_masks(weights)
    for number in range(1, rounds + 1):
        masks = pruned_in_layers(weights, masks, dict.fromkeys(weights, 0.2), number)
    return dict(masks)


# Points 7 and 8 -------------------------------------------------------------------------------------------------------


def run_stack(chosen: argparse.Namespace) -> None:
    """CPU milliseconds of a step and a network, alone and stacked."""
    torch.set_num_threads(1)
    whole, settings, found = data.load("digits", None, batch_size=128, seed=0), TrainSettings(epochs=60, fused=True), {}
    for kind, make in {"LeNet-300-100": _lenet, "perceptron 256-100-50-10": _perceptron}.items():
        shared = [Remembered(whole.train, seed, 60) for seed in range(5)]
        trainer = Trainer(make(0), shared[0], settings, constraint=Masks(_masks(make(0), 7)))
        alone = _milliseconds(trainer, len(whole.train))
        found[kind] = {"alone": alone}
        for count in (5, 15):
            made = [make(seed) for seed in range(count)]
            members = [Member(one, _masks(one, 7), shared[place % 5]) for place, one in enumerate(made)]
            taken = _milliseconds(StackedTrainer(members, settings), len(whole.train)) / count
            found[kind] |= {f"stack of {count}": taken, f"times as fast, {count}": alone / taken}
    _write(chosen.out / "stack.json", found)


def _lenet(seed: int) -> nn.Module:
    return build("lenet_300_100", in_channels=1, classes=10, image_size=16, seed=seed)


def _perceptron(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 100), nn.ReLU(), nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10))


def _milliseconds(trainer: Trainer | StackedTrainer, steps: int) -> float:
    trainer.run(2)
    taken = []
    for _ in range(5):
        begun = time.process_time()
        trainer.run(1)
        taken.append(time.process_time() - begun)
    return 1e3 * min(taken) / steps


def run_kills(chosen: argparse.Namespace) -> None:
    """Whether studies that are killed again and again come to the bytes of one that is not, but for times."""
    words = "lottery --model lenet_300_100 --data digits --rounds 3 --rate 0.5 --rewind 5 --seeds 2 --train-epochs 6"
    words += " --stability 5 --transfer adamw --forms 2:4 --stacked yes --train-threads 1"
    words += " --target tests.support.tiny_job:Formula --run"  # whose times are a formula: no seconds go into them
    command, draw = words.split(), random.Random(0)
    begun = time.monotonic()
    assert _forked([*command, str(chosen.out / "whole")], None) == 0
    span, wanted = time.monotonic() - begun, _came_to(chosen.out / "whole")
    killed, studies, same, at = 0, 0, 0, []
    while killed < chosen.kills or (chosen.out / f"killed-{studies}").exists():
        run = chosen.out / f"killed-{studies}"
        code = _forked([*command, str(run), "--resume"], draw.uniform(0, 0.9) * span if killed < chosen.kills else None)
        if code == -signal.SIGKILL:
            killed += 1
            at.append(_stage(run))
            continue
        assert code == 0, run
        studies, same = studies + 1, same + (_came_to(run) == wanted)
    found = {"killed": killed, "in": dict(Counter(at)), "studies": studies, "same": same, "bytes": len(wanted)}
    _write(chosen.out / "kills.json", found)


def _forked(command: list[str], seconds: float | None) -> int:
    """A command in a process that has all imported already, killed after so long; its exit code.

    Kills fall into the study in this way, and not into the start of the interpreter.
    """
    process = multiprocessing.get_context("fork").Process(target=_silently, args=(command,))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode is not None
    return process.exitcode


def _silently(command: list[str]) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    sys.exit(run_command(command))


def _came_to(run: Path) -> bytes:
    """All that a study says but what it took."""
    report = json.loads((run / "report.json").read_text())
    found = report["lottery"]
    parts = [report["rounds"], *(found[name] for name in ("comparisons", "stability", "transfer", "delivered_round"))]
    return json.dumps([*parts, found["forms"]["2:4"]], sort_keys=True).encode()


def _stage(run: Path) -> str:
    """What a study was at when it was killed, by the files that it had begun."""
    for name, file in (("forms", "forms/rounds.jsonl"), ("transfer", "transfer/adamw/rounds.jsonl")):
        if (run / file).exists():
            return f"{name} or timing" if name == "forms" else name
    if (run / "stability.jsonl").exists():
        return "stability or transfer"
    return "rounds" if (run / "rounds.jsonl").exists() else "start"


# Tables ---------------------------------------------------------------------------------------------------------------


def run_table(chosen: argparse.Namespace) -> None:
    """What there is of point 2: the seeds that are finished, and the round where each falls below its dense network."""
    paths = sorted(chosen.out.glob("fashion-*/report.json"))
    rows = [json.loads(line) for path in paths for line in path.with_name("rounds.jsonl").open()]
    study = StudyRows(rows, ACCURACY, ("reinit",))
    found = {(one["round"], one["against"]): one for one in comparisons(study)}
    print(f"{len(paths)} seeds; round {delivered_round(study)[0]} would be handed over")
    print("| weights kept | ticket | reinit | ticket - dense | ticket - reinit | early-stop step | counts |")
    for one in rounds_of(study):
        number = one["round"]
        counts = {row["weights"] for row in study.of("ticket", number)}
        against = [_paired(found.get((number, name))) for name in ("dense", "reinit")]
        early, formula = (
            f"{one['ticket']['early_stop_step']:.0f}",
            "the formula's" if counts == {_kept(number)} else "other",
        )
        cells = [f"{one['density']:.1%}", _mean(one["ticket"]), _mean(one["reinit"]), *against, early, formula]
        print("|", " | ".join(cells), "|")
    print(
        "density from which on tickets are below their dense network, by seed:",
        [_falls(study, row["seed"]) for row in study.of("ticket", 0)],
    )


def _kept(number: int) -> int:
    return sum(kept_after(n, 0.1 if name == "fc3.weight" else 0.2, number) for name, n in SIZES.items())


def _paired(one: Mapping[str, Any] | None) -> str:
    if one is None or one["half"] is None:
        return ""
    return f"{100 * one['mean']:+.2f} ± {100 * one['half']:.2f} ({one['positive']} of {one['seeds']})"


def _falls(study: StudyRows, seed: int) -> str:
    """The density below which every sparser ticket of a seed is below its dense network."""
    dense = study.merits("ticket", 0)[seed]
    number = study.last + 1
    while number > 1 and study.merits("ticket", number - 1)[seed] < dense:
        number -= 1
    return "none" if number > study.last else f"{study.of('ticket', number)[0]['density']:.1%}"


def _mean(one: Mapping[str, Any]) -> str:
    scores = [100 * score for score in one["accuracies"]]
    return f"{statistics.fmean(scores):.2f} ± {statistics.stdev(scores) if len(scores) > 1 else 0:.2f}"


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


COMMANDS = {
    "digits": run_digits, "fashion": run_fashion, "drift": run_drift, "resnet": run_resnet,
    "transfer": run_transfer, "widths": run_widths,
    "stack": run_stack, "kills": run_kills, "table": run_table,
}  # fmt: skip


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=5, help="of transfer and widths")
    parser.add_argument("--rewind", type=int, default=0, help="of resnet")
    parser.add_argument("--kills", type=int, default=20, help="of kills: how many")
    chosen = parser.parse_args()
    COMMANDS[chosen.command](chosen)


if __name__ == "__main__":
    main()
