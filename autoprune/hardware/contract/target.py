"""The contract of a target: a runtime on a device, something that turns a network into milliseconds.

A new runtime on this machine is a subclass of `LocalTarget` with four methods (`available`, `versions`, `pack`,
`load`); its timing happens in a fresh worker process. A device elsewhere (a phone, a board) is a subclass of
`Target` that also does its own `time`. Either is named on the command line as `package.module:Class`, or by a name
under which a package registers it (`TARGETS.register`, or an entry point of the group `autoprune.targets`).

What happens to a target: it is made with its options (`get_target`); `available` says whether it works here, `versions`
and `fingerprint` what two latencies must share to be comparable; `pack` and `pack_layer` turn networks and layers into
what travels; a `session` times batches of them. `autoprune.testing.target` holds the tests that each must pass.
"""

from __future__ import annotations

import abc
import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar
from typing import Protocol as Interface

from autoprune.errors import AutopruneError, InputError, TargetError
from autoprune.foundations.names import nearest_name
from autoprune.foundations.references import locate
from autoprune.foundations.user_code import described
from autoprune.hardware.contract.foreign import guard_methods, target_code
from autoprune.hardware.contract.layer import Layer
from autoprune.hardware.contract.protocol import Measurement, Protocol
from autoprune.hardware.contract.registry import FAMILIES, TARGETS
from autoprune.hardware.contract.target_spec import MEMORY_FORMATS, PRECISIONS, TargetSpec, check_option
from autoprune.hardware.sensors.processor import cpu_flags, cpu_model

if TYPE_CHECKING:
    from torch import nn

    from autoprune.hardware.sensors.telemetry import Sensors

__all__ = ["Progress", "Target", "Timer", "get_target", "names_multiple"]

Progress = Callable[[int, int], None]  # (done, all)

_FORMER_NAMES = {"channel_multiple": "granule", "channel_multiple_reason": "granule_reason"}


class Timer(Interface):
    """Something that times packed networks, all of one call interleaved."""

    def time(
        self, payloads: Sequence[bytes], protocol: Protocol, progress: Progress | None = None
    ) -> list[Measurement]:
        """One measurement a payload, in order."""


class Target(abc.ABC):
    """A runtime on a device.

    Attributes:
        name: What users call it.
        channel_multiple: Widths in multiples of this many channels run without waste here. (Its former name, `granule`,
            is accepted in subclasses; so is `granule_reason`.)
        channel_multiple_reason: Why, in one line, for people.
        variants: Layers' variants that `pack_layer` knows beside the plain kernels; no other is handed to it.
        fused: ATen operators that cost nothing when they directly follow a convolution or linear layer.
        precisions: Number formats that it can compute in; the first is the default.
        memory_formats: Orders in which it can be handed images; the first is the default.
        integers: Whether ONNX files with pairs of QuantizeLinear and DequantizeLinear can be its payloads, and are
            computed with integers.
        note: What people should know of its figures, said at the start of a job; empty where they are measured.
        compiles_long: Whether it takes ten seconds and more to make a network ready: networks are then timed once, in
            pairs, and kept as they come.

    Args:
        threads: How many threads a network may use.
        precision: One of `precisions`.
        memory_format: One of `memory_formats`.

    Raises:
        InputError: If it has no such option.
    """

    name: ClassVar[str] = "target"
    channel_multiple: ClassVar[int] = 8
    channel_multiple_reason: ClassVar[str] = "a safe guess: most runtimes vectorise over 8 channels"
    variants: ClassVar[frozenset[str]] = frozenset()
    fused: ClassVar[frozenset[str]] = frozenset({"batch_norm"})
    precisions: ClassVar[tuple[str, ...]] = PRECISIONS[:1]
    memory_formats: ClassVar[tuple[str, ...]] = MEMORY_FORMATS[:1]
    integers: ClassVar[bool] = False
    compiles_long: ClassVar[bool] = False
    note: ClassVar[str] = ""

    def __init_subclass__(cls, **settings: Any) -> None:
        """Take the former names of class attributes for the present ones; put a user's methods behind the boundary."""
        super().__init_subclass__(**settings)
        for name, former in _FORMER_NAMES.items():
            home = next(each for each in cls.__mro__ if {name, former} & vars(each).keys())
            if name not in vars(home):
                setattr(cls, name, vars(home)[former])
        guard_methods(cls)

    def __init__(self, *, threads: int = 1, precision: str | None = None, memory_format: str | None = None) -> None:
        if threads < 1:
            raise InputError(f"a target needs at least 1 thread, not {threads}")
        self.threads = threads
        self.precision = check_option(self.name, "precision", precision or self.precisions[0], self.precisions)
        self.memory_format = check_option(
            self.name, "memory format", memory_format or self.memory_formats[0], self.memory_formats
        )

    @classmethod
    def path(cls) -> str:
        """Where the class lies: `package.module:Class`."""
        return f"{cls.__module__}:{cls.__qualname__}"

    @property
    def spec(self) -> str:
        """What `get_target` makes this target of: its name or path, and the options that are not the default."""
        threads = None if self.threads == 1 else self.threads
        return str(TargetSpec(self.spec_name, threads, **self.options()))

    @property
    def label(self) -> str:
        """What reports call it: its name, and the options that are not the default: `openvino@int8`."""
        chosen = "+".join(self.options().values())
        return f"{self.name}@{chosen}" if chosen else self.name

    @property
    def spec_name(self) -> str:
        """The name in `TARGETS`; `package.module:Class` for a class that has none there."""
        return TARGETS.name_at(self.path()) or self.path()

    def options(self) -> dict[str, str]:
        """Precision and memory format where they are not the default: a class without options is not given any."""
        chosen = {"precision": self.precision, "memory_format": self.memory_format}
        first = (self.precisions[0], self.memory_formats[0])
        return {name: value for (name, value), default in zip(chosen.items(), first, strict=True) if value != default}

    @abc.abstractmethod
    def available(self) -> str | None:
        """None where the target works, else what is missing and how to get it."""

    @abc.abstractmethod
    def versions(self) -> dict[str, str]:
        """The runtime's name and version: what the fingerprint says beside the device."""

    @abc.abstractmethod
    def pack(self, model: nn.Module, example: Any) -> bytes:
        """Turn a network into what travels to the device. The network is left as it was.

        Args:
            model: The network; it is timed in evaluation mode.
            example: An input of the shape that is timed, batch dimension included: a tensor; of a network with several
                inputs an `autoprune.models.inputs.example.Example`, called as `model(*example.args, **example.kwargs)`.
        """

    @abc.abstractmethod
    def time(
        self, payloads: Sequence[bytes], protocol: Protocol, progress: Progress | None = None
    ) -> list[Measurement]:
        """Time packed networks on the device, interleaved.

        Raises:
            TargetError: If the device failed, did not answer, or answered nonsense.
        """

    def pack_layer(self, layer: Layer, copies: int) -> bytes | None:
        """What travels to the device to time one layer, `copies` times over in one graph.

        Zero copies is an empty graph, whose latency is the call overhead. None says that this runtime cannot run
        such a layer alone. Where it says so of one kind of layer, or does not override this, networks are priced by
        multiply-accumulates alone, fitted on end-to-end runs.
        """
        return None

    def copies(self, layer: Layer) -> int:
        """How many copies of a layer to time: 1 and the call overhead is subtracted, n > 1 and (T_n - T_1) / (n - 1).

        More than one is for runtimes with a layout of their own that a graph's input does not have.
        """
        return 1

    def calibrate(self, images: Callable[[], Any]) -> None:  # noqa: B027 - most targets take as long whatever they see
        """Be told what networks will be given, where that decides what they cost: a chip that skips zeros.

        Args:
            images: Gives a batch as the call that it makes; asked only by targets that need it.
        """

    def sensors(self) -> Sensors:
        """What watches the device while it is measured; of one that is not this machine, nothing is known."""
        from autoprune.hardware.sensors.telemetry import NoSensors

        return NoSensors()

    def session(self) -> AbstractContextManager[Timer]:
        """A timer for several batches in a row; a worker that is started once lives as long."""
        return contextlib.nullcontext(self)

    def fingerprint(self) -> dict[str, str]:
        """What must be equal for two latencies to be comparable."""
        return {
            "target": self.name,
            **self.versions(),
            "cpu": cpu_model(),
            "cpu_flags": cpu_flags(),
            "threads": str(self.threads),
            "precision": self.precision,
            "memory_format": self.memory_format,
        }

    def require(self) -> None:
        """Raise a TargetError unless the target works here."""
        missing = self.available()
        if missing is not None:
            raise TargetError(f"target {self.name!r} is not available here: {missing}")


def names_multiple(kind: type) -> bool:
    """Whether a class itself, and no parent of it, says which widths suit its device."""
    return not vars(kind).keys().isdisjoint(("channel_multiple", _FORMER_NAMES["channel_multiple"]))


def get_target(
    spec: str, *, threads: int = 1, precision: str | None = None, memory_format: str | None = None
) -> Target:
    """The target of a name, whether or not it works on this machine (ask `available`).

    Args:
        spec: One of `TARGETS`, `accelerator:NAME` or `accelerator:FILE` for a simulated chip, or `package.module:Class`
            for a subclass of `Target` of the user's own; then options behind an `@`, joined by `+`: `openvino@bf16`,
            `torch@channels_last+threads=2`.
        threads: How many threads a network may use, if the spec does not say.
        precision: Number format, if the spec does not say: `f32`, `bf16`, `f16`, `int8`; default its own first.
        memory_format: `contiguous` or `channels_last`, likewise.

    Raises:
        InputError: If the name is unknown, the class cannot be imported, or the target has no such option.

    >>> get_target("torch@channels_last").memory_format
    'channels_last'
    """
    wanted = TargetSpec.parse(spec).with_option("threads", None if threads == 1 else threads)
    wanted = wanted.with_option("precision", precision).with_option("memory_format", memory_format)
    family, colon, member = wanted.base.partition(":")
    if colon and family in FAMILIES:
        return _member(FAMILIES.get(family), member, wanted, threads)
    if ":" not in wanted.base and wanted.base not in TARGETS:
        nearest = nearest_name(wanted.base, TARGETS)
        raise InputError(f"no target is named {wanted.base!r} (your own is package.module:Class); {nearest}")
    kind = load_class(wanted.base) if ":" in wanted.base else _checked(TARGETS.get(wanted.base), wanted.base)
    # A class without options is not given any: its `__init__` may take the threads only.
    asked = {
        "precision": (wanted.precision, kind.precisions),
        "memory_format": (wanted.memory_format, kind.memory_formats),
    }
    options = {
        name: check_option(kind.name, name.replace("_", " "), value, known)
        for name, (value, known) in asked.items()
        if value is not None
    }
    with target_code(kind):
        return kind(threads=wanted.threads or threads, **{k: v for k, v in options.items() if v != asked[k][1][0]})


def _member(kind: Any, member: str, wanted: TargetSpec, threads: int) -> Target:
    """A target of a family: options that are not of its class are refused."""
    for name, value, known in (
        ("precision", wanted.precision, kind.precisions),
        ("memory format", wanted.memory_format, kind.memory_formats),
    ):
        if value is not None:
            check_option(wanted.base, name, value, known)
    made: Target = kind(member, threads=wanted.threads or threads)
    return made


def load_class(path: str) -> type[Target]:
    """The class at `package.module:Class`; `importable_here` says what can be imported.

    Raises:
        InputError: If there is no such module, or no subclass of `Target` in it.
    """
    try:
        found = locate(path)
        if os.getcwd() not in sys.path and "" not in sys.path:  # noqa: PTH109 - sys.path holds strings
            sys.path.append(os.getcwd())  # noqa: PTH109 - what a target imports when it is used, here and in its worker
    except AutopruneError:
        raise
    except (Exception, SystemExit) as error:  # the user's module may raise anything
        raise InputError(f"target {path!r} cannot be imported: {described(error)}") from error
    return _checked(found, path)


def _checked(found: object, spec: str) -> type[Target]:
    if not (isinstance(found, type) and issubclass(found, Target)) or inspect.isabstract(found):
        raise InputError(f"target {spec!r} is not a subclass of autoprune.hardware.Target")
    return found
