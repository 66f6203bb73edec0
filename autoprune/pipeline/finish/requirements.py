"""What a recipe asks of a task, refused before anything is trained."""

from __future__ import annotations

from autoprune.errors import InputError
from autoprune.models.inputs.example import as_example
from autoprune.pipeline.task import Task
from autoprune.run.experiment import Experiment
from autoprune.space import STRUCTURED
from autoprune.training.ingredients.scales import trained_scales

__all__ = ["require_recipe"]


def require_recipe(task: Task, experiment: Experiment) -> None:
    """Refuse a recipe that cannot serve the task, before anything is trained.

    Raises:
        InputError: If images are to be blended whose labels nobody can blend, there are no scales to pull on, or a
            network is to be cut in several steps by what can be done in one only.
    """
    if experiment.schedule != "one-shot" and task.finetune is not None:
        raise InputError(f"--schedule {experiment.schedule} is of the built-in fine-tuning, and yours is your own")
    if experiment.schedule != "one-shot" and experiment.technique_names != (STRUCTURED,):
        raise InputError(
            f"--schedule {experiment.schedule} narrows widths step by step; with --techniques {experiment.techniques}"
            " only one-shot is possible"
        )
    if experiment.slim and not trained_scales(task.model):
        raise InputError("--slim pulls on the scales of BatchNorms, and this network has none that are trained")
    if not experiment.mixup or task.finetune is not None:
        return
    if task.loss is not None:
        raise InputError("--mixup blends the labels of classes, and the loss is your own; leave it out")
    if not all(tensor.is_floating_point() for tensor in as_example(task.example).tensors()):
        raise InputError("--mixup blends images, and this network's inputs are whole numbers; leave it out")
