"""The memory layout that the processor trains in: chosen here, never inherited from images, weights or a forward.

Why it matters: torch 2.13.0 with its oneDNN, on x86 processors with AVX2 but without AVX-512, computes the backward
pass of a 1x1 convolution with stride 2, float32, in channels_last (NHWC) wrongly where 4 to 6 channels go in and 8 to
16 come out: it loops for ever, or writes past its buffer. Pruning makes such widths. Row-major tensors (NCHW) are right
everywhere, and in float32 as fast. A convolution runs in channels_last as soon as its images *or* its filters have
those strides, and with one channel, or one pixel, a tensor counts as contiguous in both: grey images out of
(N, H, W, 1) turn a whole network.

So on the CPU every convolution, forward and backward, is handed row-major tensors while autoprune computes, whatever a
loader, a model or its forward made; weights keep their own layout. Only where bfloat16 is native (AVX-512 then, where
the fault is not) do networks train in channels_last: there it is faster. `TrainSettings.channels_last` may ask for it
in float32; that is done where a probe in a process of its own finds the kernel sound.

It works on torch's dispatcher, so that it also holds for checkpointed and scripted forwards and for
`torch.autograd.grad`. It needs `torch.library.get_kernel`; a torch that lacks it has only its images put in order.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Literal

import torch
from torch import Tensor

from autoprune.errors import InputError
from autoprune.foundations.cache import cache_folder
from autoprune.foundations.files import read_json, write_json
from autoprune.models.precision import autocast, bf16_is_fast, uses_bf16

__all__ = [
    "Layout",
    "arranged",
    "canonical",
    "canonical_convolutions",
    "channels_last_is_sound",
    "chosen_layout",
    "computing",
    "in_layout",
]

Layout = Literal["canonical", "channels_last", "as it comes"]
"""Row-major convolutions; images as NHWC; or whatever is handed over, on devices that know no such fault."""

PROBE_SCHEMA = "autoprune.layout-probe/1"

_OPERATORS = ("convolution", "convolution_backward")
_PROBE_SECONDS = 20.0  # torch's import included; the sound kernel takes milliseconds
_ISA = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_PROBE = """
import torch
from torch.nn.functional import conv2d
print("begun", flush=True)
torch.manual_seed(0)
for size in (28, 14):
    for inputs in (4, 5, 6):
        for outputs in (8, 12, 16):
            found = []
            x, w = torch.randn(128, inputs, size, size), torch.randn(outputs, inputs, 1, 1)
            for layout in (torch.contiguous_format, torch.channels_last):
                a, b = x.clone(memory_format=layout).requires_grad_(), w.clone().requires_grad_()
                conv2d(a, b, stride=2).square().sum().backward()
                found.append((a.grad, b.grad))
            for one, other in zip(*found):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-2 * float(one.abs().max()))
"""

_guard = threading.Lock()
# Of this process: how many ask for canonical convolutions, and what provides them.
_depth = 0
_library: torch.library.Library | None = None


def canonical(tensor: Tensor) -> Tensor:
    """The same values with row-major strides, also along dimensions of size 1; differentiable.

    Args:
        tensor: Of any shape and type.

    Returns:
        The tensor itself where its strides are row-major already, a view where only those of dimensions of size 1
        differ, else a copy.

    >>> canonical(torch.zeros(5, 28, 28, 1).permute(0, 3, 1, 2)).stride()
    (784, 784, 28, 1)
    """
    if tensor.layout != torch.strided or tensor.stride() == _row_major(tensor.shape) or not tensor.numel():
        return tensor
    line = (-1,) if tensor.numel() > 1 else ()  # a view of its own shape may keep strides, and so may a line of one
    return tensor.contiguous().view(line).view(tensor.shape)


def _row_major(shape: torch.Size) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def chosen_layout(device: torch.device, bf16: bool | None, channels_last: bool | None = None) -> Layout:
    """How networks compute on a device.

    Args:
        device: Where the model lives.
        bf16: The setting: True, False, or None where the device is fast in it.
        channels_last: The setting; None where it computes in native bfloat16.
    """
    native = uses_bf16(device, bf16) and bf16_is_fast(device)
    if device.type != "cpu":
        wanted = uses_bf16(device, bf16) if channels_last is None else channels_last
        return "channels_last" if wanted else "as it comes"
    # ResNet-20, 28 x 28, batch 128, AVX-512, bfloat16, two threads: 103 ms a step in NCHW, 73 ms in NHWC. On one
    # thread, and in float32, there is no difference.
    wanted = native if channels_last is None else channels_last
    return "channels_last" if wanted and (native or channels_last_is_sound()) else "canonical"


def arranged(images: Tensor, layout: Layout) -> Tensor:
    """Images (N, C, H, W) in a layout; inputs of other shapes only where it is row-major."""
    if layout == "channels_last" and images.ndim == 4:
        return images.contiguous(memory_format=torch.channels_last)
    return canonical(images) if layout == "canonical" else images


def in_layout(layout: Layout) -> AbstractContextManager[None]:
    """A context in which convolutions on the CPU compute in the chosen layout, backward passes included."""
    return canonical_convolutions() if layout == "canonical" else nullcontext()


@contextmanager
def computing(device: torch.device, bf16: bool | None) -> Iterator[None]:
    """A context that scores or recalibrates networks in the device's layout and precision.

    Args:
        device: Where the model lives.
        bf16: True or False to force bfloat16; None where the device is fast in it.
    """
    layout = chosen_layout(device, bf16)
    # Without gradients nothing reaches the faulty kernel, and what is native in bfloat16 may keep what it is given.
    with in_layout(layout), autocast(device, bf16):
        yield


@contextmanager
def canonical_convolutions() -> Iterator[None]:
    """A context in which every convolution on the CPU, forward and backward, gets row-major tensors.

    It holds for the whole process, and may be nested. Put it around a training loop of your own on a processor with
    the fault that this module describes.
    """
    _ask(+1)
    try:
        yield
    finally:
        _ask(-1)


def _ask(more: int) -> None:
    """Register the operators when the first asks for them, take them back when the last does no longer."""
    global _depth, _library
    with _guard:
        _depth += more
        if _depth and _library is None and hasattr(torch.library, "get_kernel"):
            _library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
            for name in _OPERATORS:
                kernel = torch.library.get_kernel(f"aten::{name}", "CPU")
                _library.impl(name, _on_canonical(kernel), "CPU", with_keyset=True)  # type: ignore[no-untyped-call]
        elif not _depth and _library is not None:
            _library._destroy()  # type: ignore[no-untyped-call]  # as torch's own `_scoped_library` ends
            _library = None


def _on_canonical(kernel: Any) -> Callable[..., Any]:
    """An operator's kernel, behind one that puts its tensors of three and more dimensions in order."""

    def ordered(keys: Any, *given: Any, **named: Any) -> Any:
        return kernel.call_boxed(keys, *map(_ordered, given), **{name: _ordered(each) for name, each in named.items()})

    return ordered


def _ordered(given: Any) -> Any:
    return canonical(given) if isinstance(given, Tensor) and given.ndim > 2 else given


def channels_last_is_sound() -> bool:
    """Whether the backward pass of 1x1 convolutions in channels_last, float32, ends and is right on this processor.

    Found in a process of its own within 20 s, and kept in the cache for this torch, processor and instruction set.
    """
    place = _place()
    path = cache_folder() / f"layout-{hashlib.sha256(json.dumps(place).encode()).hexdigest()[:20]}.json"
    with suppress(InputError):
        known = read_json(path, "probe")
        if known.get("schema") == PROBE_SCHEMA and known.get("place") == place and type(known.get("sound")) is bool:
            return bool(known["sound"])
    sound = _probed(_PROBE, _PROBE_SECONDS)
    if sound is not None:
        with suppress(InputError):  # a cache that cannot be written costs seconds, not the job
            write_json(path, {"schema": PROBE_SCHEMA, "place": place, "sound": sound})
    return bool(sound)


def _place() -> Mapping[str, str]:
    """What an answer holds for."""
    capability = torch.backends.cpu.get_cpu_capability()
    instructions = {name: os.environ.get(name, "") for name in _ISA}
    return {"torch": torch.__version__, "machine": platform.machine(), "capability": capability, **instructions}


def _probed(code: str, seconds: float) -> bool | None:
    """Whether a program ends well in time; None where it never came to compute, on a busy machine."""
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as late:
        return False if late.stdout else None
    return done.returncode == 0 if done.stdout else None
