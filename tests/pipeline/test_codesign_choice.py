"""`codesign`: which point of the front is chosen, tables against simulations, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from autoprune.agents import AGENTS
from autoprune.cost.chips import BestChip
from autoprune.envs import PruningEnv
from autoprune.errors import BudgetError, InputError, UnsupportedModelError
from autoprune.graph import analyse
from autoprune.hardware.accelerators import load_accelerator, workload_of
from autoprune.pipeline.jobs.codesign.arms import arm_of, problem_on
from autoprune.pipeline.jobs.codesign.begin import begun
from autoprune.pipeline.jobs.codesign.designs import cores_of, family_on
from autoprune.pipeline.jobs.codesign.finalists import chosen_of
from autoprune.pipeline.jobs.codesign.knobs import KnobChoice
from autoprune.pipeline.jobs.codesign.layers import works_under
from autoprune.pipeline.jobs.codesign.points import Candidate, Point, cheapest, thinned
from autoprune.pipeline.jobs.codesign.searching import Part, parts_by_chip
from autoprune.pipeline.jobs.codesign.settings import codesign_settings
from autoprune.pipeline.jobs.registry import job_named
from autoprune.pipeline.reporter import Silent
from autoprune.pipeline.task import load_task
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment
from autoprune.run.score import ScoreSpec
from tests.support.codesigned import chip, codesigned, small_chips
from tests.support.random_chips import every_policy, random_tables

OWN = [(3.0, 1.2), (1.0, 1.1), (2.0, 1.0), (0.5, 1.0)]  # of a front's points, by rising table's: simulated mJ ms, score


def front_of_own(limit: float, least_score: float = 1.0) -> Any:
    """A study whose points' own activations change their order."""
    arm = SimpleNamespace(
        family="N:4",
        problem=SimpleNamespace(task=SimpleNamespace(scored_as=ScoreSpec("score"))),
        designs=[SimpleNamespace(chip=None)] * len(OWN),
    )
    points = [Point(Candidate(cast(Any, arm), {}, score), k, k + 0.1, 1, k) for k, (_, score) in enumerate(OWN)]
    once = lambda key, compute: {"ms": 1.0, "mj": OWN[int(key.split()[-1])][0]}  # noqa: E731
    run = SimpleNamespace(once=once, experiment=SimpleNamespace(accuracy_drop=0.0))
    return SimpleNamespace(
        allowed_merit=lambda: least_score,
        front=lambda: points,
        limit=limit,
        objective="edp",
        run=run,
        arms=[arm],
        area=1,
    )


@pytest.mark.parametrize(("limit", "least_score", "chosen"), [(9, 1.0, 3), (9, 1.05, 1), (0.6, 1.0, 3), (1.5, 1.05, 1)])
def test_the_choice_has_the_least_of_its_own_activations(limit: float, least_score: float, chosen: int) -> None:
    assert chosen_of(front_of_own(limit, least_score)).chip == chosen


def test_a_limit_that_no_network_keeps_with_its_own_activations_names_the_least() -> None:
    with pytest.raises(BudgetError, match=r"keeps the limit of 0.2: the least takes 0.5 of edp") as caught:
        chosen_of(front_of_own(0.2))
    assert caught.value.least == 0.5
    with pytest.raises(BudgetError, match=r"loses 0 or less on the search split: the least is 0.3"):
        chosen_of(front_of_own(9, 1.5))


def test_a_listed_front_has_the_point_that_would_be_chosen() -> None:
    points = [Point(SimpleNamespace(merit=0.5 + n / 100), 0, 1.0 + n, 1.0, 1.0) for n in range(40)]  # type: ignore[arg-type]
    chosen = cheapest(points, 0.7)
    listed = thinned(points, 6, [chosen, None])
    assert chosen is points[20] and chosen in listed and len(listed) == 7 and cheapest(points, 0.9) is None
    assert (listed[0], listed[-1]) == (points[0], points[-1]) and [each.value for each in listed] == sorted(
        each.value for each in listed
    )
    assert thinned(points[:3], 6, [points[1]]) == points[:3]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A network of the command line's, its analysis and its layers."""
    named = {"model": "tests.support.tiny_job:network", "data": "tests.support.tiny_job:loaders"}
    experiment = Experiment.build(codesign_settings(named | {"run": str(tmp_path_factory.mktemp("tiny") / "run")}))
    task = load_task(experiment)
    images = next(iter(task.data.calibration))[0]
    return task, analyse(task.model, task.example), workload_of(task.model, task.example, images, vectors=4)


def made(folder: Path, name: str) -> str:
    """A small chip whose file searches nothing but its processing elements, so that memories are resized."""
    content = load_accelerator(name).content()
    if name == "systolic":
        array = content["array"] | {"rows": 4, "columns": 4}
        return chip(folder, name, array=array, pattern="n:4", search={"array.rows": [2, 4]})
    return chip(folder, name, pe=content["pe"] | {"count": 4}, search={"pe.count": [2, 4]})


def test_of_more_knobs_than_can_be_listed_some_are_drawn(tmp_path: Path) -> None:
    sizes = list(range(1, 11))
    keys = (
        "array.rows",
        "array.columns",
        "clock_mhz",
        "memory.weights_kb",
        "memory.activations_kb",
        "memory.outputs_kb",
    )
    knobs = dict.fromkeys(keys, sizes) | {"array.arithmetic_bits": [4, 8], "memory.line_bits": [64, 128]}
    settings = {"accelerator": chip(tmp_path, "systolic", search=knobs), "chips": 9}
    experiment = Experiment.build(codesign_settings({"model": "m", "data": "d", "run": "r", **settings}))
    found, again = cores_of(experiment, 0), cores_of(experiment, 0)
    assert len({each.name for each in found}) == len(found) == 9 and not found[0].knobs
    assert [each.knobs for each in found] == [each.knobs for each in again]


@pytest.mark.parametrize("damage", [0, 10, -20])
def test_a_table_of_a_chip_that_is_cut_short_says_which_file(damage: int, tiny: Any, tmp_path: Path) -> None:
    task, analysis, workload = tiny
    settings = {"model": task.name, "data": "d", "accelerator": made(tmp_path, "eie"), "run": str(tmp_path / "run")}
    experiment = Experiment.build(codesign_settings(settings | {"searched": "pruning"}))
    first = cores_of(experiment, 0)[0]
    with RunDir(experiment.run_dir, experiment) as run:
        problem = problem_on(task, run, analysis, workload, family_on(first.chip)).ranked(lambda _: {})
        arm_of(problem, workload, [first], float("inf"), lambda: None)
        (table,) = run.file("checkpoint/chips").iterdir()
        table.write_bytes(table.read_bytes()[:damage])
        with pytest.raises(InputError, match="is damaged; remove it to price that chip again"):
            arm_of(problem, workload, [first], float("inf"), lambda: None)


@pytest.mark.parametrize("name", ["eie", "systolic", "balanced"])
def test_tables_give_what_a_simulation_of_the_same_masks_gives(name: str, tiny: Any, tmp_path: Path) -> None:
    task, analysis, workload = tiny
    settings = {"model": task.name, "data": "d", "accelerator": made(tmp_path, name), "run": str(tmp_path / "run")}
    experiment = Experiment.build(codesign_settings(settings))
    first = cores_of(experiment, 0)[0]
    with RunDir(experiment.run_dir, experiment) as run:
        problem = problem_on(task, run, analysis, workload, family_on(first.chip)).ranked(lambda _: {})
        arm = arm_of(problem, workload, [first], float("inf"), lambda: None)
        assert len(arm.designs) > 2  # memories of several sizes
        for number in range(len(arm.designs)):
            choices = problem.space.complete(problem.space.random(number).choices)
            sums = arm.tables.only([number]).sums(problem.space.indices(choices)[None])
            cost, accelerator = arm.simulated(number, choices), arm.designs[number].chip
            assert sums.ms[0, 0] == pytest.approx(accelerator.ms(cost), rel=1e-9)
            assert sums.mj[0, 0] == pytest.approx(cost.energy_mj, rel=1e-6)
            under = works_under(arm.layers, problem.space, choices)
            assert (sums.overflow[0, 0] == 0) == accelerator.capacity_ok(under)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"area": "0.001mm2"}, BudgetError, "no chip takes 0.001 mm2 or less; the smallest takes 0"),
        ({"accelerator": "eye"}, InputError, "no accelerator 'eye'"),
        ({"objective": "edp", "agent": "exact"}, InputError, "exact solves sums"),
        ({"area": "2"}, InputError, "write an amount above 0 with its unit"),
        ({"searched": "silicon"}, InputError, "write pruning, hardware, or both"),
        ({"flops": "50%"}, InputError, "codesign has no budget flops"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_no_folder(
    settings: dict[str, Any], kind: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message):
        codesigned(tmp_path, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def begin(folder: Path, accelerator: str, **settings: Any) -> None:
    """The part of a job before its search, on a network of the command line's."""
    named = {"model": "tests.support.tiny_job:network", "data": "tests.support.tiny_job:loaders"}
    own = {"weights": None, "accelerator": accelerator, "vectors": 2, "train_epochs": 1, "run": str(folder / "run")}
    experiment = Experiment.build(codesign_settings(named | own | settings))
    with RunDir(experiment.run_dir, experiment, overwrite=True) as run:
        begun(load_task(experiment), run, Silent())


def test_a_limit_out_of_reach_names_the_least(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"0.1% .* of edp cannot be met: the least reachable is .* mJ ms") as caught:
        begin(tmp_path, small_chips(tmp_path), at_most="0.1%", objective="edp", area="1mm2", searched="pruning")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("searched", ["pruning", "pruning,hardware"])
def test_memories_that_hold_no_network_are_refused_with_the_least_that_do(searched: str, tmp_path: Path) -> None:
    content = load_accelerator("eie").content()
    pe = content["pe"] | {"count": 4}
    tight = {"pe": pe, "memory": content["memory"] | {"weights_kb_per_pe": 0.25, "pointers_kb_per_pe": 2}}
    area = load_accelerator(chip(tmp_path, "eie", **tight)).area_mm2
    with pytest.raises(BudgetError, match=r"holds even the sparsest network: the least that does is .* KB") as caught:
        begin(tmp_path, chip(tmp_path, "eie", **tight), searched=searched, area=f"{area * 1.01}mm2")
    assert caught.value.exit_code == 3 and caught.value.least is not None
    (kb,) = re.findall(r"weights_kb_per_pe of ([0-9.]+) KB", str(caught.value))
    enough = {"pe": pe, "memory": tight["memory"] | {"weights_kb_per_pe": float(kb)}}
    larger = chip(tmp_path, "eie", **enough)
    assert load_accelerator(larger).area_mm2 == pytest.approx(caught.value.least, rel=1e-3)
    begin(tmp_path, larger, searched="pruning", area=f"{caught.value.least * 1.01}mm2")


def test_a_chip_whose_pattern_fits_no_layer_is_refused_with_what_would(tmp_path: Path) -> None:
    wide = chip(tmp_path, "balanced", pe=load_accelerator("balanced").content()["pe"] | {"count": 64})
    with pytest.raises(InputError, match=r"can have a pattern column:64 .*16 rows over 64 elements") as caught:
        begin(tmp_path, wide, searched="pruning")
    assert caught.value.exit_code == 2
    with pytest.raises(InputError, match="makes use of no zeros"):
        begin(tmp_path, chip(tmp_path, "systolic", pattern="dense"))
    experiment = Experiment.build(
        codesign_settings(
            {
                "model": "m",
                "data": "d",
                "searched": "hardware",
                "accelerator": chip(tmp_path, "systolic", pattern="n:4"),
            }
        )
    )
    with pytest.raises(InputError, match="none of the accelerators' files names knobs"):
        job_named("codesign").check(experiment)


def test_a_solver_searches_chip_by_chip_and_others_all_at_once() -> None:
    tables = random_tables(2, chips=6)
    cost = BestChip(tables, "latency")
    limit = float(np.median(cost.costs(every_policy())))
    whole = Part("joint 0", None, cost, limit, "exact", 10)  # type: ignore[arg-type]  # the arm is handed on
    parts = parts_by_chip(whole)
    assert 2 <= len(parts) <= 4 and sum(part.episodes for part in parts) == 10
    assert len({part.name for part in parts}) == len(parts)
    for part in parts:
        assert len(part.cost.tables) == 1 and part.cost.least()[0] <= limit
        solved = AGENTS.get("exact")(PruningEnv(cost.space, part.cost, limit, lambda choices: 0.5), episodes=1)
        found = solved.solve(limit)[0]
        assert cost.cost(found) <= part.cost.cost(found) <= limit  # what one chip can do, the best of all can
    other = Part("joint 0", None, cost, limit, "ddpg", 10)  # type: ignore[arg-type]
    assert parts_by_chip(other) == [other]


class Recurrent(nn.Module):
    """Nearly all of it is what accelerators do not price."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(6, 8, batch_first=True)
        self.out = nn.Linear(8, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        states, _ = self.cell(images[:, 0])
        answers: torch.Tensor = self.out(states[:, -1])
        return answers


def test_a_network_of_which_much_is_not_priced_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"cell \(lstm\) has weights"):
        codesigned(tmp_path, tmp_path / "run", model=Recurrent())
    assert not (tmp_path / "run").exists()


def test_a_solver_chooses_no_chip_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="greedy solves sums chip by chip and decides on none"):
        codesigned(tmp_path, None, agent="greedy", chip_first=True)


def test_a_policy_of_the_layers_is_priced_the_same_on_its_best_chip_first() -> None:
    tables = random_tables(3)
    cost = BestChip(tables, "edp")
    problem = SimpleNamespace(space=tables.space)
    chips = [SimpleNamespace(content=lambda k=k: {"pe": {"count": k % 2, "fifo": k // 2}}) for k in range(len(tables))]
    designs = [SimpleNamespace(chip=each, source="a", knobs={"pe.count": 0, "pe.fifo": 0}) for each in chips]
    knobs = KnobChoice(cast(Any, SimpleNamespace(problem=problem, designs=designs)), cost)
    for indices in every_policy():
        places = zip(tables.space.decisions, indices, strict=True)
        choices = {decision.name: decision.options[int(place)] for decision, place in places}
        if cost.cost(choices) < cost.ceiling:
            assert knobs.priced.cost(knobs.on_best_chip(choices)) == pytest.approx(cost.cost(choices))
