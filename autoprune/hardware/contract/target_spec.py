"""What users write for a target: `NAME` or `package.module:Class`, then options behind an `@`. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from autoprune.errors import InputError
from autoprune.foundations.files import shortened
from autoprune.foundations.names import nearest_name

__all__ = ["MEMORY_FORMATS", "PRECISIONS", "TargetSpec", "check_option"]

PRECISIONS = ("f32", "bf16", "f16", "int8")
MEMORY_FORMATS = ("contiguous", "channels_last")


@dataclass(frozen=True)
class TargetSpec:
    """A target and its options: `torch@channels_last+threads=2`. An option that is None was not named.

    Attributes:
        base: A name, or `package.module:Class`.
        threads: How many threads a network may use.
        precision: One of `PRECISIONS`.
        memory_format: One of `MEMORY_FORMATS`.
    """

    base: str
    threads: int | None = None
    precision: str | None = None
    memory_format: str | None = None

    @classmethod
    def parse(cls, text: str) -> TargetSpec:
        """The inverse of `str`; the options may stand in any order.

        Raises:
            InputError: If an option is unknown, or says something twice.

        >>> str(TargetSpec.parse("torch@threads=2+channels_last"))
        'torch@channels_last+threads=2'
        """
        base, at, options = text.partition("@")
        spec = cls(base)
        for option in options.split("+") if at else ():
            field, value = _field_of(option, text)
            spec = spec.with_option(field, value)
        return spec

    def with_option(self, field: str, value: str | int | None) -> TargetSpec:
        """The same spec with one more option; None says nothing.

        Raises:
            InputError: If the spec says something else already.
        """
        if value is None:
            return self
        was = getattr(self, field)
        if was is not None and was != value:
            raise InputError(f"the target {str(self)!r} is asked for {was} and for {value} at once; say one of them")
        return replace(self, **{field: value})  # type: ignore[arg-type]  # the field's own type

    def __str__(self) -> str:
        threads = None if self.threads is None else f"threads={self.threads}"
        options = [option for option in (self.precision, self.memory_format, threads) if option]
        return "@".join([self.base, "+".join(options)]) if options else self.base


def check_option(target: str, what: str, value: str, known: Sequence[str]) -> str:
    """The value, if the target knows it.

    Raises:
        InputError: If it does not; the message names those it knows.
    """
    if value not in known:
        raise InputError(f"target {target!r} has no {what} {shortened(repr(value), 40)}; it knows {', '.join(known)}")
    return value


def _field_of(option: str, text: str) -> tuple[str, str | int]:
    if option in PRECISIONS:
        return "precision", option
    if option in MEMORY_FORMATS:
        return "memory_format", option
    name, equals, number = option.partition("=")
    if name == "threads" and equals and number.isascii() and number.isdigit() and int(number[:9]) > 0:
        return "threads", int(number[:9])
    known = (*PRECISIONS, *MEMORY_FORMATS, "threads=N")
    raise InputError(
        f"the target {shortened(repr(text), 80)} has an option {shortened(repr(option), 40)};"
        f" {nearest_name(option, known)} (several are joined by +)"
    )
