"""`autoprune progressive`: prune a little, measure on the device, adjust, until the target is met."""

from __future__ import annotations

import typer

from autoprune.cli.options import Flags, experiment_command
from autoprune.cli.stopping import resumable
from autoprune.cli.sweeps import Part, parts_of
from autoprune.experiment import Experiment

__all__ = ["register"]

_WITHOUT = ("agent", "episodes", "warmup", "finalists", "accuracy_drop")  # nobody searches here


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune progressive --model resnet20 --data fashion-mnist --latency 50% --run gentle"
    app.command("progressive", epilog=example)(experiment_command(progressive, onnx=True, without=_WITHOUT))


def progressive(experiment: Experiment, flags: Flags) -> None:
    """Prune a little, build, measure on the target, adjust, fine-tune; again and again until the budget is met."""
    from autoprune.pipeline.opening import PROGRESSIVE

    with parts_of(experiment.replace(agent=PROGRESSIVE), flags) as parts:
        for part in parts:
            with resumable(part.experiment.run_dir, "the same command with --resume"):
                _one(part, flags)


def _one(part: Part, flags: Flags) -> None:
    from autoprune.cli.screen import Screen, print_result
    from autoprune.pipeline.files import export_run
    from autoprune.pipeline.opening import finished_result, opened_run, use_threads
    from autoprune.pipeline.progressive import check_progressive, progressive_job
    from autoprune.pipeline.task import load_task
    from autoprune.reports import write_html

    experiment, screen = part.experiment, Screen()
    check_progressive(experiment)
    with use_threads(experiment.train_threads):
        task = load_task(experiment)
        with opened_run(experiment, resume=flags.resume, overwrite=flags.overwrite, like=part.like) as run:
            result = finished_result(run)
            if result is None:
                result = progressive_job(task, run, screen)
            else:
                screen.say(f"{run.path} is finished; nothing is left to do")
            if not run.file("report.html").exists():
                write_html(run.path)
            if flags.onnx:
                export_run(run.path, "onnx", run.file("model.onnx"))
    print_result(result)
