"""How much is trained, in which steps, where, and by which recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from autoprune.run.settings.base import Settings, setting

__all__ = ["PERMUTE_SECONDS", "ProgressiveSettings", "RecipeSettings", "SparsitySettings", "TrainingPlan"]

PERMUTE_SECONDS = 60.0
"""For the search of an order of units."""


class ProgressiveSettings(Settings):
    """The steps of progressive pruning."""

    panel = "Progressive"

    step: str = setting("2.5%", "share of the dense cost that the first step takes off")
    step_decay: float = setting(
        0.96,
        "every step takes off this share of the step before, down to a quarter of the first",
        gt=0,
        le=1,
    )
    step_epochs: int = setting(1, "epochs of fine-tuning after every step", ge=0, le=10**6)
    step_batches: int | None = setting(
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


class SparsitySettings(Settings):
    """Which weights become zero, and how the network learns to do without them."""

    panel = "Sparsity"

    pattern: str = setting(
        "2:4",
        "which weights may stay together: N:M along the inputs, 2:4-both, 2:4/1:2, 4x4:0.5 (blocks, half of them zero),"
        " bank:4:0.75, column:8:0.75, kernel:0.5, filter:0.5, unstructured:0.9, unstructured:0.9-global",
    )
    sparse_recipe: Literal["one-shot", "asp", "gradual", "sr-ste", "regularised"] = setting(
        "one-shot",
        "one-shot, no training; asp, mask once and train with the mask fixed; gradual, more zeros in each of"
        " --schedule-steps fine-tunings; sr-ste, the mask decided anew in every step; regularised, first a pull on the"
        " weights that will go, then asp",
    )
    permute: bool = setting(
        False,
        "first put units into an order in which N:M groups keep more; the network computes the same, which is proved",
    )
    permute_seconds: float = setting(
        PERMUTE_SECONDS, "time for the search of that order, its proof not counted", gt=0, le=86_400
    )
    train_baselines: bool = setting(
        False,
        "also train the random masks (and equal shares of all layers) that the result is compared with, as long as it:"
        " a training each",
    )
    weight_update: Literal["none", "sparsegpt"] = setting(
        "none", "sparsegpt: masks chosen column by column, and the weights that stay make up for the others"
    )
    masks: str | None = setting(
        None,
        "a weights file whose zeros are the masks (also one of torch.nn.utils.prune), or own, the zeros of the run's"
        " dense weights; for one-shot and asp, and the masks must keep the pattern",
    )
    layout: Literal["dense", "compressed"] = setting(
        "dense",
        "of the run's sparse weights in files: dense, zeros included; or compressed, weights of 2:4 (also 1:4, 2:8,"
        " 2:4-both) without their zeros, in about half of the bytes",
    )

    @field_validator("pattern")
    @classmethod
    def _pattern_is_text(cls, value: str) -> str:
        return value.strip().lower()


class TrainingPlan(Settings):
    """How much is trained, with which batches, and where."""

    panel = "Training"

    train_epochs: int | None = setting(None, "epochs of the dense training; default: the data set's", ge=1, le=10**6)
    finetune_epochs: int | None = setting(
        None, "epochs of the final fine-tuning; default: the data set's", ge=0, le=10**6
    )
    schedule: Literal["one-shot", "iterative", "cubic"] = setting(
        "one-shot",
        "how a policy is reached in fine-tuning: one-shot, in one cut before it; iterative, in cuts of one size, each"
        " fine-tuned; cubic, large cuts first; the epochs are the same",
    )
    schedule_steps: int = setting(4, "cuts of the schedules iterative and cubic", ge=2, le=1000)
    finalists: int = setting(6, "policies that are fine-tuned a little before one is chosen", ge=1, le=64)
    finetune_seeds: int = setting(
        1,
        "repeat the final fine-tuning of policy and baseline with this many seeds and report the spread",
        ge=1,
        le=32,
    )
    batch_size: int = setting(128, "images a step in training", ge=2, le=2**24)
    train_threads: int | None = setting(None, "threads for training and scoring; default: all", ge=1, le=1024)
    device: str = setting("cpu", "where training and scoring run: cpu, cuda, cuda:1, mps")

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

    recipe: Literal["plain", "default", "strong"] = setting(
        "default",
        "ingredients of fine-tuning, each of which an option of its own can change: plain, the labels alone; default,"
        " label smoothing and distillation from the dense network; strong, its blocks' outputs and an average of the"
        " weights",
    )
    label_smoothing: float | None = setting(
        None, "share of the target that is spread over all classes; default: the recipe's", ge=0, lt=1
    )
    distil: float | None = setting(
        None, "share of distillation from the dense network's outputs; default: the recipe's", ge=0, le=1
    )
    distil_features: float | None = setting(
        None,
        "weight of the distance to what the dense network's blocks give, such as 1; 0: none; default: the recipe's",
        ge=0,
        le=1e6,
    )
    ema: float | None = setting(
        None,
        "decay of an average of the weights that fine-tuning ends with, such as 0.999; 0: none; default: the recipe's",
        ge=0,
        lt=1,
    )
    mixup: float | None = setting(
        None,
        "alpha of mixup: fine-tuning learns from images blended in pairs, in shares of Beta(alpha, alpha); 0: none;"
        " default: the recipe's",
        ge=0,
        le=1e3,
    )
    slim: float = setting(
        0.0,
        "L1 pull on BatchNorm's scales in the dense training, such as 1e-4, for --criterion bn_scale (Network"
        " Slimming);"
        " for a network that comes with weights, in a training of a copy that only ranks its units",
        ge=0,
        le=1e6,
    )
    optimizer: str | None = setting(
        None,
        "sgd, adamw, or package.module:name, called with parameters, lr and weight_decay; default: adamw for a network"
        " with attention, else sgd",
    )
    lr: float | None = setting(
        None,
        "peak learning rate of fine-tuning; training from scratch takes twice, a progressive step two fifths of it;"
        " default: 0.05 of sgd, 0.001 of adamw, its own of another",
        gt=0,
        le=1e6,
    )
    weight_decay: float | None = setting(
        None, "weight decay; default: 0.0005 of sgd, 0.01 of adamw, its own of another", ge=0, le=1e6
    )
    warmup_epochs: float | None = setting(
        None,
        "epochs over which the learning rate rises; default: 1 from scratch, 0.5 in fine-tuning, 0 in a progressive"
        " step",
        ge=0,
        le=1e6,
    )
    clip: float | None = setting(
        None, "largest norm of a step's gradient; default: 1 of adamw, none of others", gt=0, le=1e9
    )
    finetune: str | None = setting(
        None,
        "package.module:name of a fine-tuning loop of your own, (model, constraint, epochs) -> model, in place of the"
        " built-in one",
    )
