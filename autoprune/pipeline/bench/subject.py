"""What `autoprune bench` is given, a run or a model, as two networks and the images to score them on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from autoprune.data import load as load_data
from autoprune.dynamic_networks.batches import shuffled_singles
from autoprune.dynamic_networks.module import DynamicModule
from autoprune.errors import InputError, RunError
from autoprune.evaluation import accuracy
from autoprune.export.onnx_network import QUANTIZED_FILE, network_in_run
from autoprune.foundations.files import read_json
from autoprune.foundations.references import is_reference, resolve
from autoprune.graph import analyse
from autoprune.models import ZOO, load_weights
from autoprune.models.inputs.example import Example, as_example
from autoprune.models.inputs.reader import BatchReader
from autoprune.pipeline.bench.compare import Subject
from autoprune.pipeline.bench.streamed import DynamicFile
from autoprune.pipeline.load import dense_model, holds_dynamic, of_its_runtime
from autoprune.pipeline.load import load as load_small
from autoprune.pipeline.task import example_of_shape, has_data_of_python, load_task, model_of_shape
from autoprune.quantization.rounding import integer_layers
from autoprune.run.directory import is_run, read_settings
from autoprune.run.experiment import Experiment
from autoprune.space import Policy
from autoprune.techniques.apply import apply
from autoprune.techniques.space import space_of

__all__ = ["ModelChoice", "in_batches_of", "is_model", "subject_of_model", "subject_of_run"]


_NOT_ASKED = "it was not asked for"


@dataclass(frozen=True)
class ModelChoice:
    """A model that is no run's: how it is pruned, whose images it takes.

    Attributes:
        name: Zoo name, or `package.module:factory`.
        policy: The policy file that says what is pruned.
        keep: Instead: the share of every decision's units that stays, in (0, 1].
        granularity: With `keep`: kept widths are multiples of this.
        weights: The dense network's weights.
        data: Whose test split scores, and whose images are fed.
        data_dir: Where data sets lie.
        shape: Shape of one input instead, such as `3,224,224`; nothing is scored then.
    """

    name: str
    policy: Path | None = None
    keep: float | None = None
    granularity: int | None = None
    weights: str | None = None
    data: str | None = None
    data_dir: str | None = None
    shape: str | None = None

    def __post_init__(self) -> None:
        if self.policy is not None and self.keep is not None:
            raise InputError("--policy and --keep both say what is pruned; give one of them")
        if self.data is not None and self.shape is not None:
            raise InputError("--data and --shape both say what is fed; give one of them")
        if self.granularity is not None and self.keep is None:
            raise InputError("--granularity goes with --keep: a policy file says its widths itself")


def is_model(name: str) -> bool:
    """Whether this names a model and not a run.

    Raises:
        InputError: If it can be neither.
    """
    if is_run(Path(name)):
        return False
    if name in ZOO or is_reference(name):
        return True
    if Path(name).is_dir() or "/" in name:
        return False
    hint = f"; did you mean runs/{name}?" if is_run(Path("runs") / name) else ""
    raise InputError(
        f"{name!r} is neither a run's folder nor a model: name one of the zoo, or package.module:factory{hint}"
    )


def subject_of_run(run: Path, *, data_dir: str | None = None, scored: bool = True) -> Subject:
    """A finished run's dense and fine-tuned networks.

    Args:
        run: Its folder.
        data_dir: Where data sets lie, if not where the run found them.
        scored: Whether both are scored on the run's test split.

    Raises:
        RunError: If there is no run, or it is not finished.
        InputError: If a file is damaged, the data cannot be loaded, or the network's time depends on its input and
            there are no inputs.
    """
    experiment, _ = read_settings(run)
    is_dynamic = holds_dynamic(run)
    product = "model.onnx" if is_dynamic or (run / QUANTIZED_FILE).exists() else "finetuned.safetensors"
    wanted = ("policy.json", "dense.safetensors", product, *(("report.json",) if is_dynamic else ()))
    unfinished = [name for name in wanted if not (run / name).exists()]
    if unfinished:
        raise RunError(f"{run} holds no {unfinished[0]}; the run is not finished, go on with --resume")
    if is_dynamic and has_data_of_python(experiment):
        raise InputError(
            f"the time of {run} depends on its inputs, which were handed over in Python; `autoprune report {run}` has"
            " its mean, its 95th percentile and its longest path, as measured on its target"
        )
    policy = Policy.load(run / "policy.json")
    dense, example = dense_model(policy)
    load_weights(dense, run / "dense.safetensors")
    small = load_small(run)
    facts = {"run": str(run), "model": experiment.model}
    subject = Subject(
        str(run),
        dense.eval(),
        small,
        example,
        scored_as=experiment.score_spec,
        reader=BatchReader(experiment.inputs),
        delivered=_with_its_integers(run, small, experiment),
        facts=facts,
    )
    if not scored and not is_dynamic:
        return replace(subject, unscored=_NOT_ASKED)
    if has_data_of_python(experiment):
        return replace(subject, unscored="the run's data was handed over in Python")
    try:
        evaluate = accuracy if experiment.evaluate is None else resolve(experiment.evaluate, "--evaluate")
    except InputError as error:
        return replace(subject, unscored=str(error))
    place = data_dir or experiment.data_dir
    data = load_data(
        experiment.data, Path(place) if place else None, batch_size=experiment.batch_size, seed=experiment.seed
    )
    facts = {**subject.facts, "data": experiment.data}

    def seen() -> Example:
        return subject.reader.call(subject.dense, next(iter(data.calibration)))

    found = replace(subject, test=data.test, evaluate=evaluate, facts=facts, seen=seen)
    if isinstance(small, DynamicModule):
        found = replace(found, file=_file(run, small, subject, data.test, experiment.seed))
    return found if scored else replace(found, test=None, unscored=_NOT_ASKED)


def _file(run: Path, network: DynamicModule, subject: Subject, batches: Iterable[Any], seed: int) -> DynamicFile:
    """What is run of a dynamic network, and the inputs that it is given."""
    paths = tuple(str(each["place"]) for each in read_json(run / "report.json", "report")["exits"])

    def inputs(most: int) -> list[list[Tensor]]:
        calls = (subject.reader.call(subject.dense, batch) for batch in batches)
        return shuffled_singles(network.flow, calls, most, seed)[:most]

    return DynamicFile((run / "model.onnx").read_bytes(), paths, inputs, network.path)


def _with_its_integers(run: Path, small: nn.Module, experiment: Experiment) -> nn.Module | None:
    """The file that a run with integers in some layers hands over, as its report scores it: by the target's runtime.

    None where the network itself is what is handed over.
    """
    if not integer_layers(small) or not (run / "model.onnx").is_file():
        return None
    return of_its_runtime(network_in_run(run), experiment)


def subject_of_model(choice: ModelChoice, *, scored: bool = True) -> Subject:
    """A model and what a policy, or one share for every decision, makes of it.

    Raises:
        InputError: If the model, its weights, its data or its policy cannot be found, or do not fit.
        UnsupportedModelError: If the model cannot be analysed.
    """
    policy = None if choice.policy is None else Policy.load(choice.policy)
    subject = _dense(choice, policy)
    if not scored:
        subject = replace(subject, test=None, unscored=_NOT_ASKED)
    if choice.keep is not None:
        analysis = analyse(subject.dense, subject.example, blocks=False)
        policy = space_of(analysis, grid=choice.granularity, name=choice.name).uniform(choice.keep)
    if policy is None:
        return subject
    return replace(subject, small=apply(subject.dense, policy, subject.example).eval())


def _dense(choice: ModelChoice, policy: Policy | None) -> Subject:
    """The dense network, what it is fed, and the test split where there are weights and data."""
    facts = _facts(choice)
    if choice.shape is not None:
        example = example_of_shape(choice.shape)
        return _unscored(choice, model_of_shape(choice.name, example), example, facts)
    if choice.data is None and policy is not None and "example" in policy.model:
        return _unscored(choice, *dense_model(policy, choice.name), facts)
    settings = {"model": choice.name, "weights": choice.weights, "data": choice.data, "data_dir": choice.data_dir}
    task = load_task(Experiment.build({name: value for name, value in settings.items() if value is not None}))
    facts |= {"data": task.data.name, "weights": task.weights_origin if task.trained else None}
    subject = Subject(choice.name, task.model.eval(), None, task.example, facts=facts, seen=task.calibration_call)
    if not task.trained:
        return replace(subject, unscored="the network came without weights")
    return replace(subject, test=task.data.test)


def _unscored(choice: ModelChoice, dense: nn.Module, example: Any, facts: Mapping[str, Any]) -> Subject:
    if choice.weights is not None:
        load_weights(dense, Path(choice.weights))
    return Subject(choice.name, dense.eval(), None, example, unscored="no data was named", facts=facts)


def _facts(choice: ModelChoice) -> dict[str, Any]:
    """Where the networks come from, as JSON values."""
    pruned: Mapping[str, Any] = {}
    if choice.policy is not None:
        pruned = {"policy": str(choice.policy)}
    elif choice.keep is not None:
        pruned = {"keep": choice.keep}
    return {"model": choice.name, "weights": choice.weights, **pruned}


def in_batches_of(subject: Subject, size: int) -> Subject:
    """The same subject, timed on so many images at once.

    Raises:
        InputError: If each of them would take its own path.
    """
    if size != 1 and subject.file is not None:
        raise InputError(
            "each input takes its own path: a dynamic network is timed one at a time; leave target_batch 1"
        )
    return replace(subject, example=as_example(subject.example).with_batch(size).plain)
