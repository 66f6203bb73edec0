"""The target that settings name, with the options that they give."""

from __future__ import annotations

from autoprune.errors import InputError
from autoprune.hardware import Target, get_target
from autoprune.hardware.targets.local import LocalTarget
from autoprune.run.settings import TargetSettings

__all__ = ["branching_target", "further_target", "target_of"]


def target_of(settings: TargetSettings) -> Target:
    """The target that settings name, whether or not it works on this machine.

    Raises:
        InputError: If there is no such target, or it has no such option.
    """
    return get_target(
        settings.target,
        threads=settings.threads,
        precision=settings.precision,
        memory_format=settings.memory_format,
    )


def further_target(settings: TargetSettings, name: str) -> Target:
    """Another target that a budget names (`latency@NAME`), with as many threads; its options stand behind its name.

    Raises:
        InputError: If there is no such target, or it has no such option.
    """
    return get_target(name, threads=settings.threads)


def branching_target(target: Target) -> LocalTarget:
    """A target as one that runs a dynamic network's file: of an `If` one branch alone, in float32.

    Raises:
        InputError: If it does not.
    """
    if not isinstance(target, LocalTarget) or not target.runs_branches:
        raise InputError(
            f"what an input does not need is still computed on the target {target.name}; use onnxruntime or openvino"
        )
    if target.precision != "f32" or target.memory_format != "contiguous":
        raise InputError(
            f"thresholds are chosen on answers in float32; name the target {type(target).name} without its options"
        )
    return target
