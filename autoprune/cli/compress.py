"""`autoprune compress`: the main job."""

from __future__ import annotations

import typer

from autoprune.cli.options import Flags, experiment_command
from autoprune.cli.stopping import resumable
from autoprune.cli.sweeps import Part, parts_of
from autoprune.experiment import Experiment

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune compress --model resnet20 --data fashion-mnist --latency 50% --run fashion"
    app.command("compress", epilog=example)(experiment_command(compress, onnx=True))


def compress(experiment: Experiment, flags: Flags) -> None:
    """Train or load, profile, search, fine-tune, verify on the target, report: the main job."""
    with parts_of(experiment, flags) as parts:
        for part in parts:
            with resumable(part.experiment.run_dir, "the same command with --resume"):
                _one(part, flags)


def _one(part: Part, flags: Flags) -> None:
    from autoprune.cli.screen import Screen, print_result
    from autoprune.pipeline.accuracy_drop import accuracy_drop_job
    from autoprune.pipeline.files import export_run
    from autoprune.pipeline.jobs import compress_job
    from autoprune.pipeline.opening import check_settings, finished_result, opened_run, use_threads
    from autoprune.pipeline.task import load_task
    from autoprune.reports import write_html

    experiment = part.experiment
    check_settings(experiment)
    screen = Screen()
    with use_threads(experiment.train_threads):
        task = load_task(experiment)
        with opened_run(experiment, resume=flags.resume, overwrite=flags.overwrite, like=part.like) as run:
            result = finished_result(run)
            if result is None and experiment.accuracy_drop is not None:
                result = accuracy_drop_job(run.experiment, run, screen, load_task)
            elif result is None:
                result = compress_job(task, run, screen)
            else:
                screen.say(f"{run.path} is finished; nothing is left to do")
            if not run.file("report.html").exists():
                write_html(run.path)
            if flags.onnx:
                export_run(run.path, "onnx", run.file("model.onnx"))
    print_result(result)
