"""The target that settings name, with the options that they give."""

from __future__ import annotations

from autoprune.hardware import Target, get_target
from autoprune.run.settings import TargetSettings

__all__ = ["further_target", "target_of"]


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
