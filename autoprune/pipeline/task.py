"""What is compressed: a network, its data, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.data import DataSet, load
from autoprune.errors import AutopruneError, InputError, UnsupportedModelError, one_line
from autoprune.evaluation import Evaluate, Judge, accuracy
from autoprune.foundations.references import resolve
from autoprune.foundations.seeding import reseed, seeded
from autoprune.models import build, device_of, in_mode, load_weights, output_of
from autoprune.models.inputs.example import Example, as_example
from autoprune.models.inputs.reader import AS_IT_COMES, BatchReader
from autoprune.models.outputs import with_changed_tensors
from autoprune.run.experiment import Experiment
from autoprune.run.score import ACCURACY, ScoreSpec
from autoprune.training.own_loop import FineTune

__all__ = [
    "Loss",
    "OwnFunctions",
    "Task",
    "check_task",
    "example_of_shape",
    "has_data_of_python",
    "judge",
    "load_task",
    "model_of_shape",
    "require_trainable",
    "shipped_weights",
    "split_search_set",
    "training_device",
]

Loss = Callable[[Any, Any], Tensor]

_LOADERS = "loaders"  # how a run calls the data that `autoprune.compress` was given; no command knows such a name


@dataclass(frozen=True)
class OwnFunctions:
    """Functions that a program hands over; whatever is None is named by the settings, or the built-in one.

    Attributes:
        loss: Training loss of (output, batch).
        evaluate: Score of (model, batches).
        finetune: Loop in place of the built-in fine-tuning.
    """

    loss: Loss | None = None
    evaluate: Evaluate | None = None
    finetune: FineTune | None = None


@dataclass
class Task:
    """A network with its data.

    Attributes:
        name: What the user calls the model.
        model: The dense network; trained in place if `trained` is false.
        data: Four splits.
        trained: Whether the network arrived with weights.
        evaluate: Score of (model, batches).
        scored_as: What that score is: its name, and which way is better.
        loss: Own training loss of (output, batch); None for cross-entropy with distillation.
        finetune: Own loop in place of the built-in fine-tuning.
        weights_origin: Where the weights come from, for people.
        arguments: What the model's builder was given about the data.
        target_batch: Images in the batch that is timed.
        reader: Which parts of a batch are the network's inputs.
        remake: Makes another task like this one was at first; None where a copy of its fields is one.
    """

    name: str
    model: nn.Module
    data: DataSet
    trained: bool
    evaluate: Evaluate = accuracy
    scored_as: ScoreSpec = ACCURACY
    loss: Loss | None = None
    finetune: FineTune | None = None
    weights_origin: str = "trained in this run"
    arguments: dict[str, int] = field(default_factory=dict)
    target_batch: int = 1
    remake: Callable[[], Task] | None = None
    reader: BatchReader = AS_IT_COMES

    def fresh(self) -> Task:
        """Another task like this one was at first, for a job of several jobs."""
        return replace(self) if self.remake is None else self.remake()

    @property
    def example(self) -> Any:
        """One input, (1, ...); of a network with several an `Example`."""
        if self.data.sample is None:
            return as_example(self.data.example).plain
        return self.reader.call(self.model, self.data.sample).plain

    @property
    def timed_example(self) -> Any:
        """What the target is timed on: the example as often as the batch has images, (target_batch, ...)."""
        return as_example(self.example).with_batch(self.target_batch).plain

    def calibration_call(self) -> Example:
        """The first batch of calibration images as the call that it makes."""
        return self.reader.call(self.model, next(iter(self.data.calibration)))

    def score(self, model: nn.Module, batches: Iterable[Any]) -> float:
        """Score of a network in evaluation mode; every module's own mode is put back."""
        return self.judge.score(model, batches)

    @property
    def judge(self) -> Judge:
        """How its networks are scored."""
        return Judge(self.evaluate, self.reader)

    def merit(self, model: nn.Module, batches: Iterable[Any]) -> float:
        """The score, turned where less is better: the larger, the better."""
        return self.scored_as.merit(self.score(model, batches))

    @cached_property
    def search_parts(self) -> tuple[list[Any], list[Any]]:
        """The search split, dealt to episodes and to finalists; read once, since a loader may shuffle."""
        reseed(self.data.search, 0)
        with seeded(0):
            return split_search_set(self.data.search)


def load_task(experiment: Experiment, own: OwnFunctions | None = None) -> Task:
    """The network and the data that an experiment names.

    Args:
        experiment: The settings.
        own: Functions that were handed over in place of those that the experiment names.

    Raises:
        InputError: If one of them cannot be found or read, or the weights do not fit.
    """
    data_dir = Path(experiment.data_dir) if experiment.data_dir else None
    data = load(experiment.data, data_dir, batch_size=experiment.batch_size, seed=experiment.seed)
    arguments = {"in_channels": (*data.shape, 1)[0], "classes": data.classes, "image_size": (1, *data.shape)[-1]}
    model = build(experiment.model, **arguments, seed=experiment.seed)
    device = training_device(experiment.device)
    weights, origin = experiment.weights, str(experiment.weights)
    shipped = shipped_weights(experiment.model, data.name)
    if weights is None and shipped is not None and experiment.train_epochs is None:
        weights, origin = str(shipped), f"shipped with autoprune ({shipped.name})"
    if weights is not None:
        load_weights(model, Path(weights))
    task = Task(experiment.model, model.to(device), data, weights is not None, arguments=arguments)
    task.target_batch = experiment.target_batch
    judge(task, experiment, own)
    task.remake = lambda: load_task(experiment, own)
    if weights is not None:
        task.weights_origin = origin
    check_task(task)
    return task


def judge(task: Task, experiment: Experiment, own: OwnFunctions | None = None) -> None:
    """Give a task the user's functions: those that were handed over, else those that the settings name.

    Args:
        task: Changed in place.
        experiment: What of it is named as `package.module:function` is found here.
        own: Handed over in place of the experiment's.

    Raises:
        InputError: If there is no such function.
    """
    own = own or OwnFunctions()
    task.loss, task.finetune = own.loss, own.finetune
    task.evaluate, task.scored_as = own.evaluate or accuracy, experiment.score_spec
    task.reader = BatchReader(experiment.inputs)
    if own.loss is None and experiment.loss is not None:
        task.loss = resolve(experiment.loss, "--loss")
    if own.evaluate is None and experiment.evaluate is not None:
        task.evaluate = resolve(experiment.evaluate, "--evaluate")
    if own.finetune is None and experiment.finetune is not None:
        task.finetune = resolve(experiment.finetune, "--finetune")


def has_data_of_python(experiment: Experiment) -> bool:
    """Whether a run's data was handed over in Python, so that no command has it."""
    return experiment.data == _LOADERS


def example_of_shape(shape: str) -> Tensor:
    """Zeros for one input of the sizes that a user wrote: `3,224,224` gives (1, 3, 224, 224).

    Raises:
        InputError: If these are no sizes.
    """
    try:
        return torch.zeros(1, *(int(part) for part in shape.split(",")))
    except (ValueError, RuntimeError) as error:
        raise InputError(f"--shape {shape}: write the sizes of one input, such as 3,224,224") from error


def model_of_shape(name: str, example: Tensor) -> nn.Module:
    """A model of the zoo for inputs like this one, with 10 classes; or what a factory gives."""
    sizes = example.shape
    return build(name, in_channels=sizes[1], classes=10, image_size=sizes[-1], seed=0)


def shipped_weights(model: str, data: str) -> Path | None:
    """The dense weights that come with the package for a model on a data set; None if there are none."""
    import autoprune.models

    name = f"{model}_{data.replace('-', '_')}.safetensors"
    path = Path(autoprune.models.__file__).parent / "weights" / name
    return path if path.is_file() else None


def split_search_set(batches: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """The search split, dealt: three fifths score episodes, two fifths compare finalists.

    The best of hundreds of scores is optimistic on the images that it was the best on; finalists are compared on
    others. Every batch of tensors is dealt image by image, since a loader may be sorted by class; batches of anything
    else are dealt whole. A single one serves both.
    """
    episodes: list[Any] = []
    finalists: list[Any] = []
    seen = 0
    for batch in batches:
        size = _images_of(batch)
        if size is None:
            (episodes if _scores_episodes(seen) else finalists).append(batch)
            seen += 1
            continue
        mine = torch.tensor([_scores_episodes(seen + image) for image in range(size)])
        for part, mask in ((episodes, mine), (finalists, ~mine)):
            if bool(mask.any()):
                part.append(with_changed_tensors(batch, lambda tensor, mask=mask: tensor[mask]))  # type: ignore[misc]
        seen += size
    return (episodes or finalists, finalists or episodes)


def _scores_episodes(number: int) -> bool:
    return number % 5 in (0, 2, 4)


def _images_of(batch: Any) -> int | None:
    """Images of a batch of tensors of one length; None of any other batch."""
    if not isinstance(batch, tuple | list | Mapping) or not batch:
        return None
    items = list(batch.values()) if isinstance(batch, Mapping) else batch
    sizes = {len(t) if isinstance(t, Tensor) and t.ndim else _images_of(t) for t in items}
    return sizes.pop() if len(sizes) == 1 else None


def training_device(name: str) -> torch.device:
    """The device of a setting, as tensors on it name it.

    Raises:
        InputError: If this machine has no such device, or torch cannot use it.
    """
    device = torch.device(name)
    if device.type == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not there:
            raise InputError(f"--device {name}: this machine has no CUDA device, or torch was built without CUDA")
        if (device.index or 0) >= there:
            raise InputError(f"--device {name}: this machine has {there} CUDA devices, cuda:0 to cuda:{there - 1}")
        return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise InputError(f"--device {name}: this machine has no Metal device, or torch was built without MPS")
        return torch.device("mps", 0)
    return device


def check_task(task: Task) -> None:
    """Run the model once, so that a misfit of model, data and score is an error now and not after the search.

    Raises:
        UnsupportedModelError: If the model cannot take the data's images.
        InputError: If its outputs cannot be scored.
    """
    try:
        with in_mode(task.model), torch.no_grad():
            home = device_of(task.model)
            output = output_of(as_example(task.example).map(lambda tensor: tensor.to(home)).run(task.model))
    except AutopruneError:
        raise
    except (Exception, SystemExit) as error:  # a user's forward may raise anything
        raise UnsupportedModelError(
            f"the model {task.name} cannot take its example, {as_example(task.example).words}: {one_line(error, 200)}"
        ) from error
    if task.evaluate is not accuracy:
        return
    if not task.scored_as.is_accuracy:
        raise InputError(
            f"the score {task.scored_as.name} needs a function that computes it: give evaluate (--evaluate"
            " package.module:function)"
        )
    if output.ndim != 2 or output.shape[1] < task.data.classes:
        raise InputError(
            f"the model {task.name} gives outputs of shape {list(output.shape)} for an image;"
            f" {task.data.name} has {task.data.classes} classes"
        )
    if not task.data.classes:
        raise InputError(
            f"the batches of {task.data.name} have no class numbers as second items, (images,) integers each;"
            " give a score of your own (evaluate)"
        )


def require_trainable(task: Task) -> None:
    """Refuse, before the search, to fine-tune a network that was made ready for deployment.

    Raises:
        InputError: If no parameter needs a gradient.
    """
    if not any(parameter.requires_grad for parameter in task.model.parameters()):
        raise InputError(
            f"no parameter of {task.name} needs a gradient, so it cannot be fine-tuned; call requires_grad_(True) on"
            " it, or ask for no epochs"
        )
