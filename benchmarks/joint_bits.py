"""Widths and bits searched together, against pruning before integers and integers before pruning, at one latency.

    python benchmarks/joint_bits.py --out joint
    python benchmarks/joint_bits.py --out joint --report          # what has been run so far
    python benchmarks/joint_bits.py --data fashion-mnist --target openvino --shares 33 --seeds 0 --images 10000 \\
        --search-images 2000 --arms "joint; integers, then widths; widths, then integers" --out fashion

One trained network and one latency table of both formats serve all arms, which have the same agent, episodes, seeds,
candidates' weights and fine-tuning, and end within the same predicted limit, a share of the float32 network's latency:

* `joint`: widths and bits are decisions;
* `integers, then widths`: every layer computes with integers, widths are searched by what integers take;
* `widths, then integers`: widths are searched and scored in float32 within a limit that is larger by the factor that
  integers gain on the whole network; the best of its policies that is within the limit in integers is taken;
* `uniform`: one share of every width, all in integers;
* `float32`: widths alone, no integers.

One JSON file an arm, share and seed, so that a run goes on where it was stopped. Accuracy is that of the ONNX file on
the test split; latencies of one share and seed are measured in one session, interleaved.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from subsets import with_fewer_images

from autoprune import agents
from autoprune.agents import run_search
from autoprune.cost import AdditiveCost
from autoprune.envs import PruningEnv, largest_uniform
from autoprune.evaluation import accuracy
from autoprune.hardware import LocalTarget, TimingPlan, measure
from autoprune.hardware.tables.pricing import latency_cost
from autoprune.pipeline.finish.fine_tuning import FineTuning, fine_tune
from autoprune.pipeline.finish.integers import with_its_integers
from autoprune.pipeline.jobs.lifecycle import opened_run
from autoprune.pipeline.jobs.search import prepare
from autoprune.pipeline.problem import Problem
from autoprune.pipeline.reporter import Silent
from autoprune.pipeline.search.play import solved_policies
from autoprune.pipeline.task import load_task
from autoprune.run.experiment import Experiment
from autoprune.space import BITS
from autoprune.techniques.scoring import Scorer

_WHOLE, _INTEGERS = 32, 8
ARMS = ("joint", "integers, then widths", "widths, then integers", "float32", "uniform")


@dataclass(frozen=True)
class Arms:
    """What the arms share.

    Attributes:
        problem: Of widths and bits, its table measured, its techniques fitted.
        agent: Its name.
        episodes: Of every arm.
        names: Of the arms that are run.
    """

    problem: Problem
    agent: str
    episodes: int
    names: tuple[str, ...]

    def policies(self, limit: float, seed: int) -> dict[str, dict[str, int]]:
        """The policy of each arm within a limit in milliseconds; an arm that finds none is missing."""
        whole, integers = self._fixed(_WHOLE), self._fixed(_INTEGERS)
        every = self._bits(_INTEGERS)
        gain = whole.dense / integers.dense

        def uniform() -> dict[str, int] | None:
            widths = largest_uniform(integers, limit)
            return None if widths is None else {**widths, **every}

        arms: dict[str, Callable[[], dict[str, int] | None]] = {
            "joint": lambda: self._best(self.problem.cost, limit, seed),
            "integers, then widths": lambda: self._best(integers, limit, seed, every),
            "widths, then integers": lambda: self._best(
                whole,
                limit * gain,
                seed,
                within=lambda choices: integers.cost(choices) <= limit,
                then=every,
            ),
            "float32": lambda: self._best(whole, limit, seed),
            "uniform": uniform,
        }
        found = {name: arms[name]() for name in self.names}
        return {name: choices for name, choices in found.items() if choices is not None}

    def _bits(self, bits: int) -> dict[str, int]:
        return {d.name: bits for d in self.problem.space.decisions if d.kind == BITS.name}

    def _fixed(self, bits: int) -> AdditiveCost:
        """What widths cost where every layer has one format."""
        table, fixed = self.problem.table, self._bits(bits)
        assert table is not None
        kept = [each for each in table.operators if all(fixed[name] == option for name, option in each.when)]
        widths = tuple(d for d in self.problem.space.decisions if d.kind != BITS.name)
        space = replace(self.problem.space, decisions=widths)
        return latency_cost(space, [replace(each, when=()) for each in kept], table.ms_of, table.factors)

    def _best(
        self,
        cost: AdditiveCost,
        limit: float,
        seed: int,
        fixed: Mapping[str, int] | None = None,
        within: Callable[[Mapping[str, int]], bool] = lambda choices: True,
        then: Mapping[str, int] | None = None,
    ) -> dict[str, int] | None:
        """The best of a search over a cost's decisions.

        Args:
            cost: Of its decisions alone.
            limit: In milliseconds.
            seed: Of the agent.
            fixed: Choices of the other decisions while candidates are scored.
            within: What policies must keep beside.
            then: Choices of the other decisions afterwards; default `fixed`.
        """
        if cost.least()[0] > limit:
            return None
        problem = self.problem
        networks = problem.stack.candidates(problem.task.model)
        scorer = Scorer(networks, problem.candidate_weights, problem.task.data.search)
        env = PruningEnv(
            cost.space,
            cost,
            limit,
            lambda choices: scorer({**choices, **(fixed or {})}),
        )
        kind = agents.get(self.agent)
        start = solved_policies(env, limit, seed) if kind.uses_seed_policies else ()
        agent = kind(
            env,
            episodes=self.episodes,
            warmup=self.episodes // 4,
            seed=seed,
            seed_policies=start,
        )
        records = run_search(agent, self.episodes, lambda record: None)
        ranked = sorted(records, key=lambda record: -record.value)
        chosen = next((record.choices for record in ranked if within(record.choices)), None)
        return None if chosen is None else {**chosen, **(fixed or {}), **(then or {})}


@contextmanager
def prepared(chosen: argparse.Namespace) -> Iterator[Problem]:
    """The trained network, its table of both formats, its fitted techniques."""
    experiment = Experiment.build(
        {
            "model": chosen.model,
            "data": chosen.data,
            "target": chosen.target,
            "kinds": ("channels", "bits"),
            "latency": "90%",
            "timing": chosen.timing,
            "train_epochs": chosen.train_epochs,
            "run": str(chosen.out / "run"),
        }
    )
    with opened_run(experiment, resume=(chosen.out / "run").exists()) as folder:
        task = load_task(experiment)
        if chosen.images or chosen.search_images:
            task = replace(
                task,
                data=with_fewer_images(task.data, chosen.images, chosen.search_images),
            )
        yield prepare(task, folder, Silent())


def one(arms: Arms, share: int, seed: int, epochs: int) -> list[dict[str, Any]]:
    """The rows of all arms at one share of the dense latency and one seed."""
    problem = arms.problem
    limit = share / 100 * problem.cost.dense
    policies = arms.policies(limit, seed)
    if not policies:
        return []
    tuned = {name: fine_tune(problem, FineTuning(c, epochs, seed), Silent(), name) for name, c in policies.items()}
    example, target = problem.task.timed_example, problem.target
    assert isinstance(target, LocalTarget)
    taken = measure([problem.task.model, *tuned.values()], example, target, TimingPlan(passes=2))
    rows = []
    for (name, choices), measured in zip(policies.items(), taken[1:], strict=True):
        file = with_its_integers(problem, tuned[name])
        rows.append(
            {
                "arm": name,
                "share": share,
                "seed": seed,
                "accuracy": accuracy(file, problem.task.data.test, bf16=False),
                "measured": measured.ms / taken[0].ms,
                "predicted": problem.cost.cost(choices) / problem.cost.dense,
                "integers": sum(choices.get(d, _WHOLE) == _INTEGERS for d in arms._bits(_INTEGERS)),
                "choices": choices,
            }
        )
    return rows


def report(out: Path) -> None:
    """Mean accuracy and measured share of the dense latency of every arm, over its seeds."""
    rows = [row for path in sorted(out.glob("rows-*.json")) for row in json.loads(path.read_text())]
    print("| share | arm | seeds | test accuracy | measured share | decisions in integers |\n|---|---|---|---|---|---|")
    for share, arm in sorted({(row["share"], row["arm"]) for row in rows}, reverse=True):
        own = [row for row in rows if (row["share"], row["arm"]) == (share, arm)]
        scores = [row["accuracy"] for row in own]
        spread = f" +- {statistics.stdev(scores):.2%}" if len(scores) > 1 else ""
        measured = statistics.mean(row["measured"] for row in own)
        integers = statistics.mean(row["integers"] for row in own)
        mean = f"{statistics.mean(scores):.2%}{spread}"
        print(f"| {share} % | {arm} | {len(own)} | {mean} | {measured:.1%} | {integers:.1f} |")


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--target", default="onnxruntime")
    parser.add_argument("--timing", default="normal")
    parser.add_argument("--train-epochs", type=int, default=20)
    parser.add_argument("--shares", default="40,32", help="of the float32 network's latency, in percent")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--agent", default="optuna")
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--arms", default="; ".join(ARMS), help="by name, with semicolons")
    parser.add_argument("--epochs", type=int, default=3, help="of fine-tuning")
    parser.add_argument("--images", type=int, help="that are trained on; default all")
    parser.add_argument("--search-images", type=int, help="that candidates are scored on; default all")
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    parser.add_argument("--report", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    arms = tuple(name.strip() for name in chosen.arms.split(";"))
    if unknown := set(arms) - set(ARMS):
        parser.error(f"--arms {', '.join(sorted(unknown))}: known are {'; '.join(ARMS)}")
    todo = [(int(share), int(seed)) for seed in chosen.seeds.split(",") for share in chosen.shares.split(",")]
    todo = [each for each in todo if not (chosen.out / "rows-{}-{}.json".format(*each)).exists()]
    if todo and not chosen.report:
        chosen.out.mkdir(parents=True, exist_ok=True)
        with prepared(chosen) as problem:
            for share, seed in todo:
                rows = one(
                    Arms(problem, chosen.agent, chosen.episodes, arms),
                    share,
                    seed,
                    chosen.epochs,
                )
                (chosen.out / f"rows-{share}-{seed}.json").write_text(json.dumps(rows, indent=1))
                print(f"share {share} %, seed {seed}: done", flush=True)
    report(chosen.out)


if __name__ == "__main__":
    main()
