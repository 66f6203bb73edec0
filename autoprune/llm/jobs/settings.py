"""Settings of the runs of `autoprune llm`: what both commands read, and what `prune` has of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from autoprune.foundations.files import shortened
from autoprune.llm.methods.options import MethodOptions
from autoprune.llm.recovery.base import RecoveryPlan
from autoprune.run.settings.base import setting
from autoprune.run.settings.stored import StoredSettings

__all__ = ["LanguageRunSettings", "LanguageSettings"]


class LanguageRunSettings(StoredSettings, ABC):
    """What is made smaller, by which text, on what it is judged, and how it is trained afterwards."""

    panel: ClassVar[str] = "Language model"

    model: str = setting("smollm2", "folder, FILE.gguf, smollm2, or package.module:factory")
    calibration: str = setting("", "file or folder of text that the method learns from")
    text: tuple[str, ...] = setting((), "files or folders of text that models are judged on")
    context: int = setting(512, "tokens that the model sees at once when it is judged", ge=2)
    stride: int | None = setting(None, "tokens from one window to the next; default the context", ge=1)
    tokens: int = setting(16384, "tokens of each text that are read", ge=2)
    windows: int = setting(32, "windows drawn from the calibration text", ge=1)
    window_length: int = setting(512, "tokens of each of them", ge=2)
    recover: Literal["none", "full", "lora"] = setting("none", "training after the cut: full keeps every zero")
    recover_steps: int = setting(40, "steps of it, at most", ge=1)
    recover_batch: int = setting(2, "windows of a step", ge=1)
    recover_lr: float = setting(2e-4, "its highest learning rate", gt=0)
    distillation: float = setting(0.5, "share of its loss that is the divergence from the dense model", ge=0, le=1)
    recover_every: int = setting(10, "steps between two looks at the held-out text, where it can be resumed", ge=1)
    patience: int = setting(3, "it stops after so many looks without a better one", ge=1)
    checkpointing: bool = setting(False, "compute activations again for the backward pass, which saves memory")
    dtype: Literal["stored", "float32", "bfloat16", "float16"] = setting("stored", "precision of the weights")
    seed: int = setting(0, "of everything drawn", ge=0, lt=2**63)
    run: str | None = setting(None, "name of the folder under runs/; a path if it has a slash")

    @field_validator("text", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_calibration(self) -> Self:
        if not self.calibration:
            raise ValueError("calibration: give a file or a folder of text (--calibration)")
        return self

    @property
    def recovery(self) -> RecoveryPlan | None:
        """The training after the cut; None without one."""
        if self.recover == "none":
            return None
        return RecoveryPlan(
            self.recover, self.recover_steps, self.recover_batch, self.window_length, self.recover_lr,
            self.distillation, self.recover_every, self.patience, self.checkpointing, self.seed,
        )  # fmt: skip

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        name = self.run or self.default_name()
        return Path(name) if "/" in name else Path("runs") / name

    @property
    @abstractmethod
    def words(self) -> tuple[str, str]:
        """What reports call the method, and how much it is asked to do."""

    @property
    def reads_by_blocks(self) -> bool | None:
        """Whether the model is read one block at a time; None to decide by its size."""
        return False

    @property
    def options(self) -> MethodOptions:
        """The method's options."""
        return MethodOptions(self.words[1])

    def default_name(self) -> str:
        """Name of a run that was given none: model, method, and how much."""
        method, amount = self.words
        parts = (Path(self.model).stem.replace(":", "."), method, amount.replace(":", "of").replace("%", ""))
        return shortened("-".join("".join(c if c.isalnum() or c in "._-" else "_" for c in part) for part in parts))


class LanguageSettings(LanguageRunSettings):
    """Settings of `autoprune llm prune`."""

    method: str = setting(
        "wanda", "magnitude, wanda or sparsegpt for zeros; llm-pruner, depth, ffn, heads, ... for a smaller model"
    )
    ratio: str = setting("50%", "the share that is taken away; of zeros also a pattern such as 2:4")
    sequential: bool = setting(False, "collect inputs anew within a block, when the layers before are pruned")
    owl: bool = setting(False, "give blocks with more outliers fewer zeros (OWL)")
    damping: float | None = setting(None, "of sparsegpt, relative to the mean of the diagonal; default 0.01")
    bits: int | None = setting(None, "of sparsegpt: round weights in the same pass as GGUF's Q8_0 (8) or Q4_0 (4) does")
    taylor: Literal["first", "mixed"] = setting("mixed", "of llm-pruner: order of its importance")
    protect: str = setting("", "of llm-pruner: blocks at the beginning and at the end that stay whole, such as 4,2")
    by_blocks: bool | None = setting(
        None, "read one block at a time out of the shards; default where the model takes half of the memory"
    )

    @property
    def words(self) -> tuple[str, str]:
        """Method and ratio."""
        return self.method, self.ratio

    @property
    def reads_by_blocks(self) -> bool | None:
        """As asked for."""
        return self.by_blocks

    @property
    def options(self) -> MethodOptions:
        """The method's options."""
        own = (self.ratio, self.sequential, self.owl, self.damping, self.taylor, self.protect)
        return MethodOptions(*own, self.bits)
