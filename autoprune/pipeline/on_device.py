"""A network on a device without a run: its latency table, and its latency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from autoprune.graph import analyse
from autoprune.hardware import Measurement, get_target
from autoprune.hardware import measure as measure_networks
from autoprune.hardware.timing.effort import effort_named
from autoprune.models import uncompiled
from autoprune.techniques.space import space_of

if TYPE_CHECKING:
    from autoprune.hardware import LatencyTable

__all__ = ["measure", "profile"]

Timing = Literal["quick", "normal", "careful"]


def profile(
    model: nn.Module,
    example_input: Tensor,
    target: str = "onnxruntime",
    *,
    granularity: int | None = None,
    threads: int = 1,
    precision: str | None = None,
    memory_format: str | None = None,
    table: str | Path | None = None,
    seed: int = 0,
    timing: Timing = "normal",
) -> LatencyTable:
    """A device table bound to a model's search space: what every policy costs in milliseconds.

    Args:
        model: The network; left as it is.
        example_input: An input with the batch dimension that is timed.
        target: The device's runtime: a name that `autoprune targets` lists, or `package.module:Class`, and options
            (`openvino@bf16`).
        granularity: Kept widths are multiples of this; default what suits the target.
        threads: Threads of the target while it is timed.
        precision: Number format of the target: `f32`, `bf16`, `f16`, `int8`; default its own first.
        memory_format: `contiguous` or `channels_last`; default the target's own first.
        table: A device table's file: its measured layers are reused, new ones are added.
        seed: Of the policies that the correction is fitted on.
        timing: How long it may take: `quick` half a minute, `normal` two, `careful` as long as it takes.

    Raises:
        InputError: If there is no such timing.
        TargetError: If the target is not available here.
        UnsupportedModelError: If the model cannot be analysed.
    """
    from autoprune.hardware import ProfileSettings
    from autoprune.hardware import profile as profile_layers

    settings = ProfileSettings.of(effort_named(timing))
    device = get_target(target, threads=threads, precision=precision, memory_format=memory_format)
    device.require()
    model = uncompiled(model)
    analysis = analyse(model, example_input, blocks=False)
    space = space_of(analysis, target=device, grid=granularity)
    return profile_layers(
        model, analysis, space, example_input, device, seed=seed, device_table=table, settings=settings
    )


def measure(
    model: nn.Module,
    example_input: Tensor,
    target: str = "onnxruntime",
    *,
    threads: int = 1,
    precision: str | None = None,
    memory_format: str | None = None,
    timing: Timing = "normal",
) -> Measurement:
    """Latency of one network on a target: milliseconds with their spread and conditions, among them its energy.

    Args:
        model: The network; timed in evaluation mode, left as it is.
        example_input: An input with the batch dimension that is timed.
        target: The device's runtime: a name that `autoprune targets` lists, or `package.module:Class`, and options
            (`openvino@bf16`).
        threads: Threads that the runtime may use.
        precision: Number format of the target: `f32`, `bf16`, `f16`, `int8`; default its own first.
        memory_format: `contiguous` or `channels_last`; default the target's own first.
        timing: `quick` takes shorter blocks, `careful` the least of several processes.

    Raises:
        InputError: If there is no such timing.
        TargetError: If the target is not available here.
    """
    plan = effort_named(timing).alone().metered(1.0)
    device = get_target(target, threads=threads, precision=precision, memory_format=memory_format)
    return measure_networks([model], example_input, device, plan)[0]
