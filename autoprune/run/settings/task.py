"""What is compressed, and how it is judged."""

from __future__ import annotations

from typing import Any, Self

from pydantic import field_validator, model_validator

from autoprune.run.score import Direction, ScoreSpec
from autoprune.run.settings.base import Settings, setting, valid

__all__ = ["ModelSettings", "ScoreSettings"]


class ModelSettings(Settings):
    """The network that is compressed, and the data that it is trained, scored and tested on."""

    panel = "What"

    model: str = setting("resnet20", "zoo name, or package.module:factory (called without arguments)")
    weights: str | None = setting(
        None,
        "trained weights: safetensors, or a checkpoint of tensors; without them the network is trained (but for"
        " quantize)",
    )
    data: str = setting(
        "digits",
        "digits, fashion-mnist, cifar10, cifar100, folder:DIR, or package.module:function returning train, search and"
        " test loaders; digits@0-4: some classes",
    )
    data_dir: str | None = setting(None, "where data sets lie or are downloaded to")


class ScoreSettings(Settings):
    """How a task that is no classification is trained and judged."""

    panel = "Task"

    loss: str | None = setting(
        None, "own training loss of (output, batch): package.module:function; default: cross-entropy with distillation"
    )
    evaluate: str | None = setting(
        None, "own score of (model, batches): package.module:function; default: top-1 accuracy"
    )
    score: str | None = setting(
        None, "what the own score is called, such as PSNR; accuracy where it is a share of right answers"
    )
    direction: Direction = setting("maximize", "whether larger or smaller values of the own score are better")
    score_format: str | None = setting(
        None, "how a value of the own score is written, such as '{:.1f} dB'; default: four digits"
    )

    inputs: tuple[str, ...] = setting(
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
        valid(lambda: self.score_spec)
        return self

    @property
    def score_spec(self) -> ScoreSpec:
        """What networks are judged by."""
        own = self.evaluate is not None or self.direction != "maximize" or self.score_format is not None
        name = self.score or ("score" if own else "accuracy")
        return ScoreSpec("accuracy" if name.lower() == "accuracy" else name, self.direction, self.score_format or "")
