"""What networks are timed on."""

from __future__ import annotations

from typing import Literal

from autoprune.run.settings.base import Settings, setting

__all__ = ["TargetSettings"]


class TargetSettings(Settings):
    """The runtime and its options: what networks are timed on, and what may be known of it already."""

    panel = "Device"

    target: str = setting(
        "onnxruntime",
        "the device's runtime: a name that `autoprune targets` lists, accelerator:FILE.yaml for a simulated chip, or"
        " package.module:Class; options behind an @ (openvino@bf16, torch@channels_last+threads=2)",
    )
    threads: int = setting(1, "threads of the target while it is timed", ge=1, le=1024)
    precision: Literal["f32", "bf16", "f16", "int8"] | None = setting(
        None, "number format of the target; default: its own first, f32 where it has it"
    )
    memory_format: Literal["contiguous", "channels_last"] | None = setting(
        None, "order of the images that the target is handed; default: contiguous"
    )
    target_batch: int = setting(1, "images in the batch that is timed", ge=1, le=65536)
    timing: Literal["quick", "normal", "careful"] = setting(
        "normal",
        "time for timing: quick, a first look; normal, profile and verification together at most two minutes or a fifth"
        " of the job; careful, as long as it takes",
    )
    table: str | None = setting(
        None, "device table: its measured layers are reused, new ones are added; shared by models"
    )
