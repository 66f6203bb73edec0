"""The chips that there are to choose from: those of the files, their knobs turned, their memories resized."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoprune.errors import InputError
from autoprune.hardware.accelerators import Accelerator, load_accelerator
from autoprune.hardware.accelerators.files import accelerator_of
from autoprune.masks.n_of_m import NofM
from autoprune.masks.parsing import family_of, pattern_of
from autoprune.run.settings import CodesignSettings
from autoprune.space import KEPT

__all__ = ["Design", "Family", "cores_of", "family_on", "path_of", "resized", "values_at"]

_LEAST_KB = 0.125
_ENUMERATED = 1_000_000  # settings of knobs that are listed, to draw from; more than `--chips` can ask for


@dataclass(frozen=True, eq=False)
class Design:
    """A chip that may be chosen.

    Attributes:
        chip: It.
        source: The file or name that it comes of.
        knobs: What differs from that: path of a key -> value.
        searched: Paths of the keys that the file itself gives values to try.
    """

    chip: Accelerator
    source: str
    knobs: Mapping[str, object]
    searched: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For people: the file's chip, and what differs."""
        changed = ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in self.knobs.items())
        return f"{self.chip.name} ({changed})" if changed else self.chip.name


def cores_of(settings: CodesignSettings, seed: int) -> list[Design]:
    """The chips of the files, each followed by those that its knobs make of it, memories as in the file.

    Of more settings of the knobs than `settings.chips` so many are drawn, the file's own among them.

    Raises:
        InputError: If a file is missing or describes no chip, or the pattern of one is none that masks can have.
    """
    found: list[Design] = []
    for source in settings.accelerators:
        chip = load_accelerator(source)
        family_on(chip)
        plain = _fixed(chip)
        found.append(Design(plain, source, {}, tuple(chip.knobs())))
        if "hardware" in settings.searched:
            found += _turned(chip, plain, source, settings.chips - 1, seed)
    return found


def _turned(chip: Accelerator, plain: Accelerator, source: str, most: int, seed: int) -> list[Design]:
    """Settings of the knobs other than the file's own."""
    paths, before = list(chip.knobs()), values_at(plain, chip.knobs())
    combinations = _combinations(list(chip.knobs().values()), before, most, np.random.default_rng(seed))
    found = []
    for values in combinations:
        knobs = {path: new for path, new, old in zip(paths, values, before, strict=True) if new != old}
        try:
            turned = plain.with_knobs(knobs)
            family_on(turned)
        except InputError:  # each value is possible by itself; together they need not be
            continue
        found.append(Design(turned, source, knobs, tuple(chip.knobs())))
    return found


def _combinations(
    knobs: Sequence[Sequence[object]], before: Sequence[object], most: int, draw: np.random.Generator
) -> list[tuple[object, ...]]:
    """At most so many ways to take one value of each knob, other than the file's own, drawn where there are more."""
    if math.prod(map(len, knobs)) > _ENUMERATED:  # few of them are drawn twice
        drawn: set[tuple[object, ...]] = set()
        while len(drawn) < most:
            drawn.add(tuple(values[int(draw.integers(len(values)))] for values in knobs))
        return sorted(drawn - {tuple(before)}, key=str)
    found = [each for each in itertools.product(*knobs) if list(each) != list(before)]
    if len(found) > most:
        numbers = draw.choice(len(found), size=most, replace=False)
        found = [found[int(number)] for number in sorted(numbers)]
    return found


def _fixed(chip: Accelerator) -> Accelerator:
    """The same chip without knobs, which is quicker to change."""
    return accelerator_of({**chip.content(), "search": {}})


def values_at(chip: Accelerator, paths: Iterable[str]) -> list[object]:
    """What a chip has at some paths."""
    values: list[object] = []
    for path in paths:
        place: object = chip.content()
        for key in path.split("."):
            place = place.get(key) if isinstance(place, dict) else None
        values.append(place)
    return values


@dataclass(frozen=True)
class Family:
    """The patterns that a chip makes use of.

    Attributes:
        name: As a family is written, `bank:4`; of a chip that takes one amount alone the pattern, `2:4`.
        technique: The technique with its settings that gives masks of them.
    """

    name: str
    technique: str


def family_on(chip: Accelerator) -> Family:
    """The patterns that a chip makes use of; columns are balanced over its processing elements.

    Raises:
        InputError: If masks cannot have its pattern, or it makes use of no zeros.
    """
    if chip.pattern == "dense":
        raise InputError(
            f"the accelerator {chip.name} makes use of no zeros: its pattern is dense; name another pattern"
        )
    try:
        exact = pattern_of(chip.pattern) if _IS_EXACT.fullmatch(chip.pattern) else None
        if isinstance(exact, NofM):
            words = f"{KEPT.technique}@pattern={exact.family}+keep={exact.n / exact.m!r}"
            return Family(exact.name, words)
        family = family_of(f"column:{chip.lanes}" if chip.pattern == "column" else chip.pattern).family
    except InputError as error:
        raise InputError(f"the pattern {chip.pattern!r} of the accelerator {chip.name}: {error}") from error
    return Family(family, f"{KEPT.technique}@pattern={family}")


_IS_EXACT = re.compile(r"[0-9]+:[0-9]+")


def resized(design: Design, needs: Mapping[str, tuple[float, float]]) -> Iterator[Design]:
    """The design with its memories in other sizes: the file's, halved or doubled from the least need to the largest.

    Args:
        design: With the memories of its file.
        needs: Memory -> bytes of the sparsest and of the dense network.
    """
    ladders = {path: sizes for path, sizes in _ladders(design.chip, needs).items() if path not in design.searched}
    for sizes in itertools.product(*ladders.values()):
        changed = dict(zip(ladders, sizes, strict=True))
        before = values_at(design.chip, changed)
        knobs = {path: new for path, new, old in zip(changed, sizes, before, strict=True) if new != old}
        if not knobs:
            yield design
            continue
        try:
            yield replace(design, chip=design.chip.with_knobs(knobs), knobs={**design.knobs, **knobs})
        except InputError:  # a size that the template does not take
            continue


def _ladders(chip: Accelerator, needs: Mapping[str, tuple[float, float]]) -> dict[str, list[float]]:
    """Path of a memory's size -> sizes in KB."""
    found = {}
    for memory, kb in chip.storage_kb().items():
        path = path_of(chip, memory)
        if path is None:
            continue
        least, most = (_size(kb, bytes_ / 1024) for bytes_ in needs[memory])
        sizes = {kb}
        size = least
        while size <= most:
            sizes.add(size)
            size *= 2
        found[path] = sorted(sizes)
    return found


def _size(kb: float, needed: float) -> float:
    """The smallest of a size's halves and doubles that holds so many KB."""
    size = kb
    while size / 2 >= max(needed, _LEAST_KB):
        size /= 2
    while size < needed:
        size *= 2
    return size


def path_of(chip: Accelerator, key: str) -> str | None:
    """Where a key stands in a chip's file."""
    sections = chip.content().items()
    return next((f"{name}.{key}" for name, part in sections if isinstance(part, dict) and key in part), None)
