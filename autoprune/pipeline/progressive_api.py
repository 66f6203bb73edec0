"""Progressive pruning from Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from autoprune.evaluation import Evaluate
from autoprune.pipeline.from_python import budget_setting, run_of, without_folder
from autoprune.pipeline.jobs.lifecycle import Result
from autoprune.pipeline.jobs.progressive.job import check_progressive, progressive_job
from autoprune.pipeline.reporter import Silent, Talk
from autoprune.pipeline.task import Loss
from autoprune.run.experiment import PROGRESSIVE

__all__ = ["progressive"]


def progressive(
    model: nn.Module,
    *,
    train: Iterable[Any],
    search: Iterable[Any],
    test: Iterable[Any],
    example_input: Tensor | None = None,
    budget: str = "latency<=50%",
    target: str = "onnxruntime",
    step: str = "2.5%",
    step_decay: float = 0.96,
    step_epochs: int = 1,
    step_batches: int | None = None,
    finetune_epochs: int = 10,
    granularity: int | str | None = None,
    skip: Sequence[str] = (),
    kinds: Sequence[str] = (),
    cap: Sequence[str] = (),
    tie: Sequence[str] = (),
    threads: int = 1,
    precision: str | None = None,
    memory_format: str | None = None,
    target_batch: int = 1,
    table: str | Path | None = None,
    seed: int = 0,
    loss: Loss | None = None,
    evaluate: Evaluate | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    talk: Talk | None = None,
) -> Result:
    """Prune a trained network step by step, measured on the target after each, until it meets a budget.

    Args:
        model: The trained network; left as it is.
        train: Batches to fine-tune on: (inputs, labels), or what `loss` understands with the input first.
        search: Batches on which the steps' proposals are scored.
        test: Batches that are touched once, at the end.
        example_input: One input, (1, ...); default the first of `train`.
        budget: `latency<=50%`, `latency<=2.5ms`, `flops<=50%`, `params<=100k`.
        target: The device's runtime.
        step: Share of the dense cost that the first step takes off.
        step_decay: Every step takes off this share of the step before, down to a quarter of the first.
        step_epochs: Epochs of fine-tuning after every step.
        step_batches: So many batches of fine-tuning after every step, instead of epochs.
        finetune_epochs: Epochs of the final fine-tuning.
        granularity: Kept widths are multiples of this, or by kind (`heads=1,channels=8`); default what suits the
            target.
        skip: Names or patterns of layers that stay as they are.
        kinds: What may be decided on; default every width. `block` drops residual branches.
        cap: `PATTERN=SHARE`: of the layers meant, at most this share of the units is removed.
        tie: Patterns: the layers that one means keep one common share of their units.
        threads: Threads of the target while it is timed.
        precision: Number format of the target: `f32`, `bf16`, `f16`; default its own first.
        memory_format: `contiguous` or `channels_last`; default the target's own first.
        target_batch: Images in the batch that is timed.
        table: A device table's file: its settled layers are not measured again, new ones are added.
        seed: One seed, one result.
        loss: Own training loss of (output, batch); default cross-entropy and distillation.
        evaluate: Own score of (model, batches), higher is better; default top-1 accuracy.
        run: Folder that keeps the run; a temporary one if not given.
        resume: Go on with that run where it stopped.
        overwrite: Replace that run.
        talk: Hears what happens.

    Raises:
        InputError: If something handed over is wrong.
        BudgetError: If the budget cannot be met.
        TargetError: If the target is not available here.
    """
    limited, amount = budget_setting(budget)
    settings: dict[str, Any] = {
        "target": target,
        "agent": PROGRESSIVE,
        "step": step,
        "step_decay": step_decay,
        "step_epochs": step_epochs,
        "step_batches": step_batches,
        "finetune_epochs": finetune_epochs,
        "granularity": granularity,
        "skip": tuple(skip),
        "kinds": tuple(kinds),
        "cap": tuple(cap),
        "tie": tuple(tie),
        "threads": threads,
        "precision": precision,
        "memory_format": memory_format,
        "target_batch": target_batch,
        "table": None if table is None else str(table),
        "seed": seed,
        limited: amount,
    }
    loaders = (train, search, test)
    opening = run_of(
        model, loaders, example_input, settings, check_progressive,
        loss=loss, evaluate=evaluate, run=run, resume=resume, overwrite=overwrite,
    )  # fmt: skip
    with opening as (opened, task):
        result = progressive_job(task(opened.experiment), opened, talk or Silent())
    return result if run is not None else without_folder(result)
