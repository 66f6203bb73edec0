"""The settings of one experiment: every option of the command line and every key of an experiment file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from autoprune.errors import InputError
from autoprune.foundations.files import read_yaml, shortened
from autoprune.foundations.names import nearest_name
from autoprune.space import checked_kinds
from autoprune.space.constraints import parsed_caps, parsed_granularity

__all__ = ["BUDGETS", "PROGRESSIVE", "Experiment", "default_warmup", "option_group"]

BUDGETS = ("latency", "flops", "params", "energy", "accuracy_drop")
"""The settings of which one may be given."""

PROGRESSIVE = "progressive"
"""What a run of `autoprune progressive` calls its agent: no other command goes on with it."""

Value = TypeVar("Value")

_TOLD = 8  # faults of one file; further ones are counted


def _option(default: Any, help_text: str, group: str, **limits: Any) -> Any:
    """A setting: its default, its documentation, and the group of the command line's help that shows it."""
    return Field(default=default, description=help_text, json_schema_extra={"group": group}, **limits)


def option_group(name: str) -> str:
    """The group in which the command line's help shows a setting."""
    extra = Experiment.model_fields[name].json_schema_extra
    return str(extra["group"]) if isinstance(extra, dict) else "Settings"


class Experiment(BaseModel):
    """What is compressed, on which data, for which device and budget, and how hard to try.

    Field descriptions are the command line's help.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = _option("resnet20", "zoo name, or package.module:factory (called without arguments)", "What")
    weights: str | None = _option(
        None, "trained weights: safetensors, or a checkpoint of tensors; without them the network is trained", "What"
    )
    data: str = _option(
        "digits",
        "digits, fashion-mnist, cifar10, cifar100, folder:DIR, or package.module:function returning train, search and"
        " test loaders",
        "What",
    )
    data_dir: str | None = _option(None, "where data sets lie or are downloaded to", "What")
    target: str = _option(
        "onnxruntime",
        "the device's runtime: a name that `autoprune targets` lists, or package.module:Class; options behind an @"
        " (openvino@bf16, torch@channels_last+threads=2)",
        "Device",
    )
    threads: int = _option(1, "threads of the target while it is timed", "Device", ge=1, le=1024)
    precision: Literal["f32", "bf16", "f16"] | None = _option(
        None, "number format of the target; default: its own first, f32 where it has it", "Device"
    )
    memory_format: Literal["contiguous", "channels_last"] | None = _option(
        None, "order of the images that the target is handed; default: contiguous", "Device"
    )
    target_batch: int = _option(1, "images in the batch that is timed", "Device", ge=1, le=65536)
    table: str | None = _option(
        None, "device table: its settled layers are not measured again, new ones are added; shared by models", "Device"
    )
    latency: str | None = _option(
        None,
        "latency budget: a share of the dense network (50%) or a time (2.5ms); 50% when no budget is given",
        "Budget",
    )
    flops: str | None = _option(None, "budget of multiply-accumulates: 50% or 20M", "Budget")
    params: str | None = _option(None, "budget of parameters: 50% or 100k", "Budget")
    energy: str | None = _option(
        None, "budget of energy a call: 50% or 3mJ; measured where there is a sensor, else modelled", "Budget"
    )
    accuracy_drop: float | None = _option(
        None,
        "instead of a budget: the fastest network that loses at most so many percentage points on the search split",
        "Budget",
        gt=0,
        lt=100,
    )
    agent: str = _option("ddpg", "who searches: ddpg, optuna, random, uniform; several with commas", "Search")
    episodes: int = _option(
        300, "episodes that the agent may log: warm-up and repeated policies included", "Search", ge=1
    )
    warmup: int | None = _option(
        None, "episodes before the agent learns; default min(100, episodes / 4)", "Search", ge=0
    )
    granularity: str | int | None = _option(
        None,
        "kept widths are multiples of this many channels, or by kind, such as heads=1,channels=8; default: what suits"
        " the target",
        "Search",
    )
    criterion: Literal["l1", "l2"] = _option(
        "l1", "which units are kept at a given width: the norm of their weights", "Search"
    )
    skip: tuple[str, ...] = _option(
        (), "layers that stay as they are: names or patterns (layer1.*); may be repeated", "Search"
    )
    kinds: tuple[str, ...] = _option(
        (),
        "what may be decided on: channels, heads, head_size, ffn, embedding (default: all of these), and block, which"
        " drops residual branches; several with commas",
        "Search",
    )
    cap: tuple[str, ...] = _option(
        (),
        "PATTERN=SHARE: at most this share of the units of the layers meant is removed (layer1.*=0.5 keeps half of"
        " each); may be repeated",
        "Search",
    )
    tie: tuple[str, ...] = _option(
        (),
        "layers that are decided on together: all that a pattern means (layer2.*.conv1) keep one common share of their"
        " units; may be repeated",
        "Search",
    )
    step: str = _option("2.5%", "share of the dense cost that the first step takes off", "Progressive")
    step_decay: float = _option(
        0.96,
        "every step takes off this share of the step before, down to a quarter of the first",
        "Progressive",
        gt=0,
        le=1,
    )
    step_epochs: int = _option(1, "epochs of fine-tuning after every step", "Progressive", ge=0)
    step_batches: int | None = _option(
        None, "so many batches of fine-tuning after every step, instead of epochs", "Progressive", ge=1
    )
    train_epochs: int | None = _option(None, "epochs of the dense training; default: the data set's", "Training", ge=1)
    finetune_epochs: int | None = _option(
        None, "epochs of the final fine-tuning; default: the data set's", "Training", ge=0
    )
    finalists: int = _option(6, "policies that are fine-tuned a little before one is chosen", "Training", ge=1, le=64)
    finetune_seeds: int = _option(
        1,
        "repeat the final fine-tuning of policy and baseline with this many seeds and report the spread",
        "Training",
        ge=1,
        le=32,
    )
    batch_size: int = _option(128, "images a step in training", "Training", ge=2)
    train_threads: int | None = _option(None, "threads for training and scoring; default: all", "Training", ge=1)
    device: Literal["cpu", "cuda"] = _option("cpu", "where training and scoring run", "Training")
    seed: int = _option(0, "one seed, one result", "Run", ge=0, lt=2**31)
    run: str | None = _option(None, "name of the run: a folder under runs/, or a path if it has a slash", "Run")

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
        if number is not None and number < 1:
            raise ValueError("should be 1 or more")
        return value if kinds else number

    @field_validator("cap")
    @classmethod
    def _caps_can_be_read(cls, caps: tuple[str, ...]) -> tuple[str, ...]:
        _valid(lambda: parsed_caps(caps))
        return caps

    @field_validator("*")
    @classmethod
    def _text_can_be_a_name(cls, value: Any) -> Any:
        if any("\0" in text for text in (value if isinstance(value, tuple) else (value,)) if isinstance(text, str)):
            raise ValueError("a setting cannot hold the character of number 0")
        return value

    @field_validator("latency", "flops", "params", "energy", mode="before")
    @classmethod
    def _budgets_are_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("step")
    @classmethod
    def _step_is_a_share(cls, value: str) -> str:
        number = value.strip().removesuffix("%")
        if not value.strip().endswith("%") or not number.replace(".", "", 1).isdigit() or not 0 < float(number) <= 50:
            raise ValueError("write a share above 0% and at most 50%, such as 2.5%")
        return value.strip()

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        given = [kind for kind in BUDGETS if getattr(self, kind) is not None]
        if len(given) > 1:
            raise ValueError(f"one budget at a time, not {' and '.join(given)}")
        if self.warmup is not None and self.warmup > self.episodes:
            raise ValueError(f"warmup ({self.warmup}) must not exceed episodes ({self.episodes})")
        return self

    @property
    def budget(self) -> tuple[str, str]:
        """Kind and amount of the budget, as the user wrote it; half the latency when none was given."""
        for kind in ("latency", "flops", "params", "energy"):
            amount = getattr(self, kind)
            if amount is not None:
                return kind, amount
        return "latency", "50%"

    @property
    def granule(self) -> int | None:
        """The granularity of every kind of decision; None where the target's is meant."""
        return parsed_granularity(self.granularity)[0]

    @property
    def granules(self) -> dict[str, int]:
        """The granularity by kind of decision, where the user named some."""
        return parsed_granularity(self.granularity)[1]

    @property
    def warmup_episodes(self) -> int:
        """Episodes before the agent learns."""
        return default_warmup(self.episodes) if self.warmup is None else self.warmup

    @property
    def step_share(self) -> float:
        """What the first step of progressive pruning takes off, as a share of the dense cost, in (0, 0.5]."""
        return float(self.step.removesuffix("%")) / 100

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        name = self.run or self.default_name()
        return Path(name) if "/" in name else Path("runs") / name

    def default_name(self) -> str:
        """Name of a run that was given none: model, data, budget and agent."""
        kind, amount = self.budget if self.accuracy_drop is None else ("accuracy-drop", f"{self.accuracy_drop:g}")
        parts = (self.model.replace(":", "."), self.data.replace(":", "-"), f"{kind}{amount}", self.agent)
        return "-".join("".join(c if c.isalnum() or c in "._-" else "_" for c in part) for part in parts)

    def replace(self, **changes: Any) -> Experiment:
        """The same experiment with some settings changed, validated again."""
        return Experiment.build({**self.model_dump(), **changes})

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> Experiment:
        """An experiment from plain settings.

        Raises:
            InputError: If keys or values are wrong; all faults are named at once.
        """
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            faults = [_fault(f) for f in error.errors(include_url=False)]
            more = [f"{len(faults) - _TOLD} more faults"] if len(faults) > _TOLD else []
            raise InputError("; ".join([*faults[:_TOLD], *more])) from error

    @classmethod
    def read(cls, path: str | Path, overrides: Mapping[str, Any]) -> Experiment:
        """An experiment from a YAML file, with some settings overridden.

        Raises:
            InputError: If the file cannot be read, is no mapping, or holds wrong keys or values.
        """
        content = read_yaml(path, "experiment file")
        settings = content.get("settings", content) if isinstance(content, dict) else content
        if not isinstance(settings, dict):
            raise InputError(f"{path} should hold settings, a line each, such as 'model: resnet20'")
        settings = {str(key).replace("-", "_"): value for key, value in settings.items()}
        if any(kind in overrides for kind in BUDGETS):  # another budget replaces the file's
            settings = {k: v for k, v in settings.items() if k not in BUDGETS}
        try:
            return cls.build({**settings, **overrides})
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def default_warmup(episodes: int) -> int:
    """Episodes of warm-up when the user does not say: a quarter, at most AMC's 100."""
    return min(100, episodes // 4)


def _valid(read: Callable[[], Value]) -> Value:
    """What a setting amounts to; an error of ours becomes a fault that is told among the others."""
    try:
        return read()
    except InputError as error:
        raise ValueError(str(error)) from error


def _fault(fault: Any) -> str:
    name = shortened(".".join(str(part) for part in fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"there is no setting {name!r}; {nearest_name(name, Experiment.model_fields)}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}, not {shortened(repr(fault['input']))}" if name else message
