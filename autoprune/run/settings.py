"""The settings of an experiment in blocks, each of which is a value that a function can take alone.

`autoprune.run.experiment.Experiment` is all of them in one, flat; the descriptions are the command line's help.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from autoprune.errors import InputError
from autoprune.run.score import Direction, ScoreSpec
from autoprune.space import STRUCTURED, SpaceConstraints, checked_kinds
from autoprune.space.constraints import parsed_caps, parsed_granularity

__all__ = [
    "BLOCKS",
    "BUDGETS",
    "BudgetSettings",
    "ModelSettings",
    "ProgressiveSettings",
    "RecipeSettings",
    "RunSettings",
    "ScoreSettings",
    "SearchSettings",
    "Settings",
    "SpaceSettings",
    "TargetSettings",
    "TrainingPlan",
    "default_warmup",
]

BUDGETS = ("latency", "flops", "params", "energy", "accuracy_drop", "budget")
"""The settings of which one may be given."""

_WIDEST = 2**20  # channels of which a kept width may be a multiple

Value = TypeVar("Value")


def default_warmup(episodes: int) -> int:
    """Episodes of warm-up when the user does not say: a quarter, at most AMC's 100."""
    return min(100, episodes // 4)


def _setting(default: Any, description: str, **limits: Any) -> Any:
    """A setting: its default and its documentation."""
    return Field(default=default, description=description, **limits)


_UNITS = {"s": 1, "min": 60, "h": 3600}


def seconds_in(text: str) -> float:
    """The seconds of a time with its units.

    Raises:
        ValueError: If it is none, or not above 0.

    >>> seconds_in("30min"), seconds_in("1h 30min"), seconds_in("1.5s")
    (1800.0, 5400.0, 1.5)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|min|s)", "".join(text.lower().split()))
    if not parts or "".join(number + unit for number, unit in parts) != "".join(text.lower().split()):
        raise ValueError("write a time with its unit, such as 30min, 2h or 1h30min")
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < total <= 1e8:
        raise ValueError("should be above 0 seconds and at most three years")
    return total


class Settings(BaseModel):
    """Base of every block.

    Attributes:
        panel: The heading under which the command line's help shows the block.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    panel: ClassVar[str]

    @field_validator("*")
    @classmethod
    def _text_can_be_a_name(cls, value: Any) -> Any:
        if any("\0" in text for text in (value if isinstance(value, tuple) else (value,)) if isinstance(text, str)):
            raise ValueError("a setting cannot hold the character of number 0")
        return value


class ModelSettings(Settings):
    """The network that is compressed, and the data that it is trained, scored and tested on."""

    panel = "What"

    model: str = _setting("resnet20", "zoo name, or package.module:factory (called without arguments)")
    weights: str | None = _setting(
        None, "trained weights: safetensors, or a checkpoint of tensors; without them the network is trained"
    )
    data: str = _setting(
        "digits",
        "digits, fashion-mnist, cifar10, cifar100, folder:DIR, or package.module:function returning train, search and"
        " test loaders",
    )
    data_dir: str | None = _setting(None, "where data sets lie or are downloaded to")


class ScoreSettings(Settings):
    """How a task that is no classification is trained and judged."""

    panel = "Task"

    loss: str | None = _setting(
        None, "own training loss of (output, batch): package.module:function; default: cross-entropy with distillation"
    )
    evaluate: str | None = _setting(
        None, "own score of (model, batches): package.module:function; default: top-1 accuracy"
    )
    score: str | None = _setting(
        None, "what the own score is called, such as PSNR; accuracy where it is a share of right answers"
    )
    direction: Direction = _setting("maximize", "whether larger or smaller values of the own score are better")
    score_format: str | None = _setting(
        None, "how a value of the own score is written, such as '{:.1f} dB'; default: four digits"
    )

    inputs: tuple[str, ...] = _setting(
        (),
        "keys of a batch that are the network's inputs, where batch and forward do not say it (a tuple's items by"
        " number); several with commas",
    )

    @field_validator("inputs", mode="before")
    @classmethod
    def _keys_are_a_list(cls, value: Any) -> Any:
        parts = (value,) if isinstance(value, str | int) else value
        if not isinstance(parts, tuple | list):
            return value
        return tuple(key.strip() for part in parts for key in str(part).split(",") if key.strip())

    @model_validator(mode="after")
    def _score_can_be_one(self) -> Self:
        _valid(lambda: self.score_spec)
        return self

    @property
    def score_spec(self) -> ScoreSpec:
        """What networks are judged by."""
        own = self.evaluate is not None or self.direction != "maximize" or self.score_format is not None
        name = self.score or ("score" if own else "accuracy")
        return ScoreSpec("accuracy" if name.lower() == "accuracy" else name, self.direction, self.score_format or "")


class TargetSettings(Settings):
    """The runtime and its options: what networks are timed on, and what may be known of it already."""

    panel = "Device"

    target: str = _setting(
        "onnxruntime",
        "the device's runtime: a name that `autoprune targets` lists, or package.module:Class; options behind an @"
        " (openvino@bf16, torch@channels_last+threads=2)",
    )
    threads: int = _setting(1, "threads of the target while it is timed", ge=1, le=1024)
    precision: Literal["f32", "bf16", "f16"] | None = _setting(
        None, "number format of the target; default: its own first, f32 where it has it"
    )
    memory_format: Literal["contiguous", "channels_last"] | None = _setting(
        None, "order of the images that the target is handed; default: contiguous"
    )
    target_batch: int = _setting(1, "images in the batch that is timed", ge=1, le=65536)
    timing: Literal["quick", "normal", "careful"] = _setting(
        "normal",
        "time for timing: quick, a first look; normal, profile and verification together at most two minutes or a fifth"
        " of the job; careful, as long as it takes",
    )
    table: str | None = _setting(
        None, "device table: its measured layers are reused, new ones are added; shared by models"
    )


class BudgetSettings(Settings):
    """What the small network may cost, or lose."""

    panel = "Budget"

    latency: str | None = _setting(
        None,
        "latency budget: a share of the dense network (50%) or a time (2.5ms); 50% when no budget is given",
    )
    flops: str | None = _setting(None, "budget of multiply-accumulates: 50% or 20M")
    params: str | None = _setting(None, "budget of parameters: 50% or 100k")
    energy: str | None = _setting(
        None, "budget of energy a call: 50% or 3mJ; measured where there is a sensor, else modelled"
    )
    accuracy_drop: float | None = _setting(
        None,
        "instead of a budget: the fastest network that loses at most so many percentage points on the search split; of"
        " an own score, so much in its own unit",
        gt=0,
        lt=1e9,
    )
    budget: str | None = _setting(None, "a budget of any kind, KIND=AMOUNT; for kinds without an option of their own")

    @field_validator("budget")
    @classmethod
    def _budget_names_its_kind(cls, value: str | None) -> str | None:
        if value is None:
            return None
        kind, sign, amount = (part.strip() for part in value.replace("<=", "=").partition("="))
        if not (kind and sign and amount):
            raise ValueError("write KIND=AMOUNT, such as params=50%")
        return f"{kind}={amount}"

    @field_validator("latency", "flops", "params", "energy", mode="before")
    @classmethod
    def _budgets_are_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else _joined(value)

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        given = [kind for kind in BUDGETS if getattr(self, kind) is not None]
        if len(given) > 1:
            raise ValueError(f"one budget at a time, not {' and '.join(given)}")
        return self

    @property
    def requested_budget(self) -> tuple[str, str]:
        """Kind and amount of the budget, as the user wrote it; half the latency when none was given."""
        if self.budget is not None:
            kind, _, amount = self.budget.partition("=")
            return kind, amount
        for kind in BUDGETS:
            amount = getattr(self, kind)
            if isinstance(amount, str):
                return kind, amount
        return "latency", "50%"

    def with_amount(self, amount: str) -> dict[str, str]:
        """The setting that asks for another amount of the same budget."""
        kind, _ = self.requested_budget
        return {kind: amount} if self.budget is None else {"budget": f"{kind}={amount}"}

    @model_serializer(mode="wrap")
    def _without_an_unused_budget(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Files of runs stay as they were before there was `budget`, unless it is used."""
        content: dict[str, Any] = write(self)
        return content if self.budget is not None else {k: v for k, v in content.items() if k != "budget"}


class SearchSettings(Settings):
    """Who searches, and for how long."""

    panel = "Search"

    agent: str = _setting(
        "ddpg",
        "who searches: ddpg, optuna, evolution, exact, greedy, netadapt, random, uniform; several with commas",
    )
    episodes: int = _setting(
        300, "episodes that the agent may log: warm-up and repeated policies included", ge=1, le=10**6
    )
    warmup: int | None = _setting(
        None, "episodes before the agent learns; default min(100, episodes / 4)", ge=0, le=10**6
    )

    @field_validator("agent", mode="before")
    @classmethod
    def _agents_are_text(cls, value: Any) -> Any:
        return _joined(value)

    @model_validator(mode="after")
    def _warmup_is_part_of_the_search(self) -> Self:
        if self.warmup is not None and self.warmup > self.episodes:
            raise ValueError(f"warmup ({self.warmup}) must not exceed episodes ({self.episodes})")
        return self

    @property
    def warmup_episodes(self) -> int:
        """Episodes before the agent learns."""
        return default_warmup(self.episodes) if self.warmup is None else self.warmup


class SpaceSettings(Settings):
    """Which parts of the network may be narrowed, in which steps, and which of their units are kept."""

    panel = "Search"

    granularity: str | int | None = _setting(
        None,
        "kept widths are multiples of this many channels, or by kind, such as heads=1,channels=8; default: what suits"
        " the target",
    )
    techniques: str = _setting(
        STRUCTURED,
        "what is done to the network, in the order of their stages: structured (narrower layers, dropped branches), or"
        " package.module:Class; several with commas",
    )
    criterion: str = _setting("l1", "what ranks units, so which are kept at a given width; see docs/criteria.md")
    candidate_weights: str = _setting(
        "reconstructed",
        "what a candidate is scored with and fine-tuned from: reconstructed (layers refitted by least squares), or"
        " recalibrated (dense weights, BatchNorm re-estimated)",
    )
    skip: tuple[str, ...] = _setting((), "layers that stay as they are: names or patterns (layer1.*); may be repeated")
    kinds: tuple[str, ...] = _setting(
        (),
        "what may be decided on: channels, heads, head_size, ffn, embedding (default: all of these), and block, which"
        " drops residual branches; several with commas",
    )
    cap: tuple[str, ...] = _setting(
        (),
        "PATTERN=SHARE: at most this share of the units of the layers meant is removed (layer1.*=0.5 keeps half of"
        " each); may be repeated",
    )
    tie: tuple[str, ...] = _setting(
        (),
        "layers that are decided on together: all that a pattern means (layer2.*.conv1) keep one common share of their"
        " units; may be repeated",
    )

    @field_validator("skip", "kinds", "cap", "tie", mode="before")
    @classmethod
    def _one_pattern_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("kinds")
    @classmethod
    def _kinds_are_known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        named = tuple(part.strip() for kind in kinds for part in kind.split(",") if part.strip())
        return _valid(lambda: checked_kinds(named)) if kinds else ()

    @field_validator("granularity")
    @classmethod
    def _granularity_is_one(cls, value: int | str | None) -> int | str | None:
        number, kinds = _valid(lambda: parsed_granularity(value))
        if not all(1 <= each <= _WIDEST for each in (*kinds.values(), *(() if number is None else (number,)))):
            raise ValueError(f"should be 1 or more, and at most {_WIDEST}")
        return value if kinds else number

    @field_validator("cap")
    @classmethod
    def _caps_can_be_read(cls, caps: tuple[str, ...]) -> tuple[str, ...]:
        _valid(lambda: parsed_caps(caps))
        return caps

    @property
    def constraints(self) -> SpaceConstraints:
        """What the user wants of the search space."""
        return SpaceConstraints.parse(self.granularity, self.skip, self.kinds or None, self.cap, self.tie)

    @property
    def technique_names(self) -> tuple[str, ...]:
        """The techniques of the run, with their settings."""
        return tuple(name.strip() for name in self.techniques.split(",") if name.strip())


class ProgressiveSettings(Settings):
    """The steps of progressive pruning."""

    panel = "Progressive"

    step: str = _setting("2.5%", "share of the dense cost that the first step takes off")
    step_decay: float = _setting(
        0.96,
        "every step takes off this share of the step before, down to a quarter of the first",
        gt=0,
        le=1,
    )
    step_epochs: int = _setting(1, "epochs of fine-tuning after every step", ge=0, le=10**6)
    step_batches: int | None = _setting(
        None, "so many batches of fine-tuning after every step, instead of epochs", ge=1, le=10**9
    )

    @field_validator("step")
    @classmethod
    def _step_is_a_share(cls, value: str) -> str:
        number = value.strip().removesuffix("%")
        if not value.strip().endswith("%") or not number.replace(".", "", 1).isdigit() or not 0 < float(number) <= 50:
            raise ValueError("write a share above 0% and at most 50%, such as 2.5%")
        return value.strip()

    @property
    def step_share(self) -> float:
        """What the first step of progressive pruning takes off, as a share of the dense cost, in (0, 0.5]."""
        return float(self.step.removesuffix("%")) / 100


class TrainingPlan(Settings):
    """How much is trained, with which batches, and where."""

    panel = "Training"

    train_epochs: int | None = _setting(None, "epochs of the dense training; default: the data set's", ge=1, le=10**6)
    finetune_epochs: int | None = _setting(
        None, "epochs of the final fine-tuning; default: the data set's", ge=0, le=10**6
    )
    finalists: int = _setting(6, "policies that are fine-tuned a little before one is chosen", ge=1, le=64)
    finetune_seeds: int = _setting(
        1,
        "repeat the final fine-tuning of policy and baseline with this many seeds and report the spread",
        ge=1,
        le=32,
    )
    batch_size: int = _setting(128, "images a step in training", ge=2, le=2**24)
    train_threads: int | None = _setting(None, "threads for training and scoring; default: all", ge=1, le=1024)
    device: str = _setting("cpu", "where training and scoring run: cpu, cuda, cuda:1, mps")

    @field_validator("device")
    @classmethod
    def _device_is_one(cls, value: str) -> str:
        kind, colon, number = value.partition(":")
        numbered = number.isdecimal() and len(number) < 4 and kind != "cpu" if colon else True
        if kind not in ("cpu", "cuda", "mps") or not numbered:
            raise ValueError("write cpu, cuda, cuda:N or mps")
        return value


class RecipeSettings(Settings):
    """How networks are trained; what is left open follows the network."""

    panel = "Training"

    optimizer: str | None = _setting(
        None,
        "sgd, adamw, or package.module:name, called with parameters, lr and weight_decay; default: adamw for a network"
        " with attention, else sgd",
    )
    lr: float | None = _setting(
        None,
        "peak learning rate of fine-tuning; training from scratch takes twice, a progressive step two fifths of it;"
        " default: 0.05 of sgd, 0.001 of adamw, its own of another",
        gt=0,
        le=1e6,
    )
    weight_decay: float | None = _setting(
        None, "weight decay; default: 0.0005 of sgd, 0.01 of adamw, its own of another", ge=0, le=1e6
    )
    warmup_epochs: float | None = _setting(
        None,
        "epochs over which the learning rate rises; default: 1 from scratch, 0.5 in fine-tuning, 0 in a progressive"
        " step",
        ge=0,
        le=1e6,
    )
    clip: float | None = _setting(
        None, "largest norm of a step's gradient; default: 1 of adamw, none of others", gt=0, le=1e9
    )
    finetune: str | None = _setting(
        None,
        "package.module:name of a fine-tuning loop of your own, (model, constraint, epochs) -> model, in place of the"
        " built-in one",
    )


class RunSettings(Settings):
    """The seed, and the folder in which a run is kept."""

    panel = "Run"

    seed: int = _setting(0, "one seed, one result", ge=0, lt=2**31)
    time_limit: str | None = _setting(
        None,
        "end in good order after so long (30min, 2h, 90s), with the best so far; --resume goes on, with a limit anew",
    )
    run: str | None = _setting(None, "name of the run: a folder under runs/, or a path if it has a slash")

    @field_validator("run")
    @classmethod
    def _run_has_a_name(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("name a folder, or leave it out")
        return value

    @field_validator("time_limit", mode="before")
    @classmethod
    def _time_is_text(cls, value: Any) -> Any:
        return f"{value:.6f}s" if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("time_limit")
    @classmethod
    def _time_can_be_read(cls, value: str | None) -> str | None:
        if value is not None:
            seconds_in(value)
        return value

    @property
    def seconds_allowed(self) -> float | None:
        """The time limit in seconds; None if there is none."""
        return None if self.time_limit is None else seconds_in(self.time_limit)


BLOCKS: tuple[type[Settings], ...] = (
    ModelSettings,
    ScoreSettings,
    TargetSettings,
    BudgetSettings,
    SearchSettings,
    SpaceSettings,
    ProgressiveSettings,
    TrainingPlan,
    RecipeSettings,
    RunSettings,
)
"""All blocks, in the order in which files and help have them."""


def _joined(value: Any) -> Any:
    """Several agents or amounts, as a list or with commas, in the form with commas."""
    several = isinstance(value, list | tuple) and value and all(isinstance(each, str) for each in value)
    return ",".join(value) if several else value


def _valid(read: Callable[[], Value]) -> Value:
    """The value of a setting; an error of ours becomes a fault that is reported with the others."""
    try:
        return read()
    except InputError as error:
        raise ValueError(str(error)) from error
