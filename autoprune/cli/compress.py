"""`autoprune compress`: the main job."""

from __future__ import annotations

import typer

from autoprune.cli.options import Flags, experiment_command, sub_experiments
from autoprune.experiment import Experiment

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    example = "Example: autoprune compress --model resnet20 --data fashion-mnist --latency 50% --run fashion"
    app.command("compress", epilog=example)(experiment_command(compress, onnx=True))


def compress(experiment: Experiment, flags: Flags) -> None:
    """Train or load, profile, search, fine-tune, verify on the target, report: the main job."""
    for part in sub_experiments(experiment):
        _one(part, flags)


def _one(experiment: Experiment, flags: Flags) -> None:
    from autoprune.cli.screen import Screen, print_result
    from autoprune.pipeline.files import export_run
    from autoprune.pipeline.jobs import check_settings, compress_job, finished_result, opened_run, use_threads
    from autoprune.pipeline.task import load_task
    from autoprune.reports import write_html

    check_settings(experiment)
    screen = Screen()
    with use_threads(experiment.train_threads):
        task = load_task(experiment)
        with opened_run(experiment, resume=flags.resume, overwrite=flags.overwrite) as run:
            result = finished_result(task, run)
            if result is None:
                result = compress_job(task, run, screen)
                write_html(run.path)
            else:
                screen.say(f"{run.path} is finished; nothing is left to do")
            if flags.onnx:
                export_run(run.path, "onnx", run.file("model.onnx"))
    print_result(result)
