"""How networks are trained in a run: the user's settings, and for what they leave open what suits the network."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from autoprune.run.settings import RecipeSettings
from autoprune.training.presets import PRESETS, Preset
from autoprune.training.settings import TrainSettings

__all__ = ["Recipe"]

_DENSE, _STEP = 2.0, 0.4
"""Peak rates as multiples of fine-tuning's: of a training from scratch, and of a step of progressive pruning."""


@dataclass(frozen=True)
class Recipe:
    """What all trainings of a run have in common. None leaves a value to the optimiser, or to the kind of training.

    Attributes:
        optimizer: `sgd`, `adamw` or `package.module:name`.
        lr: Peak learning rate of fine-tuning; a training from scratch takes twice, a step of progressive pruning two
            fifths of it.
        weight_decay: Of the weights.
        warmup_epochs: Epochs over which the rate rises; None is 1 from scratch, half of one in fine-tuning.
        clip: Largest norm of a step's gradient; None does not clip.
        why: Why this optimiser, for people.
        ingredients: What fine-tuning learns from, and what it ends with.
        slim: Pull on BatchNorm's scales in a training from scratch, or in one that only the ranking is for.
        loop: The user's own loop in place of the built-in fine-tuning, by its name.
    """

    optimizer: str
    lr: float | None
    weight_decay: float | None
    warmup_epochs: float | None
    clip: float | None
    why: str
    ingredients: Preset = PRESETS["default"]
    slim: float = 0.0
    loop: str | None = None

    @classmethod
    def chosen(cls, given: RecipeSettings, *, attention: bool) -> Recipe:
        """The user's recipe; what it leaves open follows the network and the optimiser.

        Args:
            given: The settings.
            attention: Whether the network has attention. Its gradients differ in size by orders of magnitude from
                layer to layer, which AdamW evens out and stochastic gradient descent does not.
        """
        if given.optimizer is not None:
            name, why = given.optimizer, "as asked for"
        else:
            name, why = ("adamw", "the network has attention") if attention else ("sgd", "the network has no attention")
        default = {"sgd": (0.05, 5e-4, None), "adamw": (1e-3, 0.01, 1.0)}.get(name, (None, None, None))
        asked = (given.lr, given.weight_decay, given.clip)
        lr, decay, clip = (own if value is None else value for value, own in zip(asked, default, strict=True))
        return cls(name, lr, decay, given.warmup_epochs, clip, why, _ingredients(given), given.slim, given.finetune)

    def dense(self, epochs: int, seed: int) -> TrainSettings:
        """A training from scratch: no average and no blended images, so that it stays the user's own training."""
        return replace(self._settings(epochs, seed, _DENSE, 1.0), slim=self.slim)

    def slimming(self, epochs: int, seed: int) -> TrainSettings:
        """The training of a copy of a network that came with weights, for the sake of its BatchNorms' scales."""
        return replace(self._settings(epochs, seed, 1.0, 0.5), slim=self.slim)

    def finetune(self, epochs: int, seed: int) -> TrainSettings:
        """The fine-tuning of a network that was cut."""
        own = self.ingredients
        return replace(self.plain(epochs, seed), feature_weight=own.distil_features, ema=own.ema, mixup=own.mixup)

    def plain(self, epochs: int, seed: int) -> TrainSettings:
        """Fine-tuning of a network that has its teacher within: without features, averages and blended images."""
        return self._settings(epochs, seed, 1.0, 0.5)

    def step(self, epochs: int, seed: int) -> TrainSettings:
        """The short fine-tuning after a step of progressive pruning, which needs no warm-up, and averages nothing."""
        return self._settings(epochs, seed, _STEP, 0.0)

    def _settings(self, epochs: int, seed: int, share: float, warmup: float) -> TrainSettings:
        return TrainSettings(
            epochs=epochs,
            optimizer=self.optimizer,
            lr=None if self.lr is None else self.lr * share,
            weight_decay=self.weight_decay,
            warmup_epochs=warmup if self.warmup_epochs is None else self.warmup_epochs,
            clip=self.clip,
            label_smoothing=self.ingredients.label_smoothing,
            distil_weight=self.ingredients.distil,
            seed=seed,
        )

    def to_json(self) -> dict[str, Any]:
        """For files."""
        content: dict[str, Any] = asdict(self)
        ingredients: dict[str, Any] = content.pop("ingredients")
        return content | ingredients

    def __str__(self) -> str:
        """One line for people, which names the options."""
        values = {"lr": self.lr, "weight-decay": self.weight_decay, "warmup-epochs": self.warmup_epochs}
        said = [f"--{name} {value:g}" for name, value in values.items() if value is not None]
        said += [f"--clip {self.clip:g}"] if self.clip is not None else []
        said += [f"--slim {self.slim:g}"] if self.slim else []
        said += [f"--{name.replace('_', '-')} {value:g}" for name, value in asdict(self.ingredients).items() if value]
        built_in = f"recipe: --optimizer {' '.join([self.optimizer, *said])} ({self.why})"
        return built_in if self.loop is None else f"{built_in}; fine-tuning by {self.loop}"


def _ingredients(given: RecipeSettings) -> Preset:
    """The preset's, but for those that the user gave."""
    own = {each.name: getattr(given, each.name) for each in fields(Preset)}
    return replace(PRESETS[given.recipe], **{name: value for name, value in own.items() if value is not None})
