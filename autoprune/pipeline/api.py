"""The Python face of the main job, and the single pieces that are usable alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from autoprune.evaluation import Evaluate
from autoprune.graph import analyse
from autoprune.hardware import Measurement, Protocol, get_target
from autoprune.hardware import measure as measure_networks
from autoprune.pipeline.from_python import budget_setting, run_of, without_folder
from autoprune.pipeline.jobs.accuracy_drop import accuracy_drop_job
from autoprune.pipeline.jobs.compress import compress_job
from autoprune.pipeline.jobs.lifecycle import Result, check_settings
from autoprune.pipeline.reporter import Silent, Talk
from autoprune.pipeline.task import Loss
from autoprune.techniques.structured.space import space_of

if TYPE_CHECKING:
    from autoprune.hardware import LatencyTable

__all__ = ["compress", "measure", "profile"]


def compress(
    model: nn.Module,
    *,
    train: Iterable[Any],
    search: Iterable[Any],
    test: Iterable[Any],
    example_input: Tensor | None = None,
    budget: str = "latency<=50%",
    target: str = "onnxruntime",
    agent: str = "ddpg",
    episodes: int = 300,
    warmup: int | None = None,
    granularity: int | str | None = None,
    skip: Sequence[str] = (),
    kinds: Sequence[str] = (),
    cap: Sequence[str] = (),
    tie: Sequence[str] = (),
    finetune_epochs: int = 10,
    finalists: int = 6,
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
    """Compress a trained network until it meets a budget, as measured on the target.

    Args:
        model: The trained network; left as it is.
        train: Batches to fine-tune on: (inputs, labels), or what `loss` understands with the input first.
        search: Batches on which candidates are scored.
        test: Batches that are touched once, at the end.
        example_input: One input, (1, ...); default the first of `train`.
        budget: `latency<=50%`, `latency<=2.5ms`, `flops<=50%`, `params<=100k`, `energy<=50%`; or
            `accuracy_drop<=0.5`, the fastest network that loses at most half a percentage point on the search split.
        target: The device's runtime: a name that `autoprune targets` lists, or `package.module:Class`, and options
            (`openvino@bf16`).
        agent: Who searches.
        episodes: Episodes that the agent may log.
        warmup: Episodes before it learns; default a quarter, at most 100.
        granularity: Kept widths are multiples of this, or by kind (`heads=1,channels=8`); default what suits the
            target.
        skip: Names or patterns of layers that stay as they are.
        kinds: What may be decided on; default every width. `block` drops residual branches.
        cap: `PATTERN=SHARE`: of the layers meant, at most this share of the units is removed.
        tie: Patterns: the layers that one means keep one common share of their units.
        finetune_epochs: Epochs of the final fine-tuning.
        finalists: Policies that are fine-tuned a little before one is chosen.
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
        "agent": agent,
        "episodes": episodes,
        "warmup": warmup,
        "granularity": granularity,
        "skip": tuple(skip),
        "kinds": tuple(kinds),
        "cap": tuple(cap),
        "tie": tuple(tie),
        "finetune_epochs": finetune_epochs,
        "finalists": finalists,
        "threads": threads,
        "precision": precision,
        "memory_format": memory_format,
        "target_batch": target_batch,
        "table": None if table is None else str(table),
        "seed": seed,
        limited: amount,
    }
    opening = run_of(
        model, (train, search, test), example_input, settings, check_settings,
        loss=loss, evaluate=evaluate, run=run, resume=resume, overwrite=overwrite,
    )  # fmt: skip
    with opening as (opened, task):
        experiment, heard = opened.experiment, talk or Silent()
        if experiment.accuracy_drop is None:
            result = compress_job(task(experiment), opened, heard)
        else:
            result = accuracy_drop_job(experiment, opened, heard, task)
    return result if run is not None else without_folder(result)


def profile(
    model: nn.Module,
    example_input: Tensor,
    target: str = "onnxruntime",
    *,
    granularity: int | None = None,
    threads: int = 1,
    precision: str | None = None,
    memory_format: str | None = None,
    table: str | Path | None = None,
    seed: int = 0,
) -> LatencyTable:
    """A device table bound to a model's search space: what every policy costs in milliseconds.

    Args:
        model: The network; left as it is.
        example_input: An input with the batch dimension that is timed.
        target: The device's runtime: a name that `autoprune targets` lists, or `package.module:Class`, and options
            (`openvino@bf16`).
        granularity: Kept widths are multiples of this; default what suits the target.
        threads: Threads of the target while it is timed.
        precision: Number format of the target: `f32`, `bf16`, `f16`; default its own first.
        memory_format: `contiguous` or `channels_last`; default the target's own first.
        table: A device table's file: its settled layers are not measured again, new ones are added.
        seed: Of the policies that the correction is fitted on.

    Raises:
        TargetError: If the target is not available here.
        UnsupportedModelError: If the model cannot be analysed.
    """
    from autoprune.hardware import profile as profile_layers

    device = get_target(target, threads=threads, precision=precision, memory_format=memory_format)
    device.require()
    analysis = analyse(model, example_input)
    space = space_of(analysis, target=device, granularity=granularity)
    return profile_layers(model, analysis, space, example_input, device, seed=seed, device_table=table)


def measure(
    model: nn.Module,
    example_input: Tensor,
    target: str = "onnxruntime",
    *,
    threads: int = 1,
    precision: str | None = None,
    memory_format: str | None = None,
) -> Measurement:
    """Latency of one network on a target: milliseconds with their spread and conditions, among them its energy.

    Args:
        model: The network; timed in evaluation mode, left as it is.
        example_input: An input with the batch dimension that is timed.
        target: The device's runtime: a name that `autoprune targets` lists, or `package.module:Class`, and options
            (`openvino@bf16`).
        threads: Threads that the runtime may use.
        precision: Number format of the target: `f32`, `bf16`, `f16`; default its own first.
        memory_format: `contiguous` or `channels_last`; default the target's own first.

    Raises:
        TargetError: If the target is not available here.
    """
    device = get_target(target, threads=threads, precision=precision, memory_format=memory_format)
    return measure_networks([model], example_input, device, Protocol(meter=1.0))[0]
