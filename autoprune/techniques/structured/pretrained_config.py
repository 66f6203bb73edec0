"""A cut `transformers` model's config follows its widths, where one config can say what the network is."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from autoprune.graph import Analysis, Extent
from autoprune.models.pretrained import differences, numbers_of, outermost_pretrained, shapes_of, stock_model

__all__ = ["follow_config"]

_Made = tuple[dict[str, tuple[int, ...]], dict[str, float]]

_MOST_BUILDS = 300  # of the stock class, without memory: milliseconds each
_MOST_SHARING = 16  # query heads on one head of keys and values


@dataclass(frozen=True)
class _Field:
    """A whole number in a config, or in a list in it.

    Attributes:
        path: Names of the configs around it.
        name: Its own.
        index: Its place in a list; None outside of one.
        dense: Its value.
        options: What things of that size have become, the most frequent first.
        further: What it may become as a multiple of something.
    """

    path: tuple[str, ...]
    name: str
    index: int | None
    dense: int
    options: tuple[int, ...]
    further: tuple[int, ...] = ()

    def put(self, config: Any, value: int) -> None:
        """Write a value into a config."""
        for step in self.path:
            config = getattr(config, step)
        if self.index is None:
            setattr(config, self.name, value)
            return
        whole = list(getattr(config, self.name))
        whole[self.index] = value
        setattr(config, self.name, type(getattr(config, self.name))(whole))


def follow_config(small: nn.Module, analysis: Analysis, widths: Mapping[str, int]) -> None:
    """Let the configs in a cut network say its widths, in place.

    No list of architectures: a number of the config is a candidate if something of that size was cut, and it may become
    what that is now. Candidates are combined until the model's own class, made from the config, has exactly the small
    network's shapes. Where no config does (layers of one number cut to different widths), it stays as it was.

    Args:
        small: The cut network.
        analysis: The dense network's.
        widths: Kept units of every group.
    """
    sizes = _changed_sizes(analysis, widths)
    for _, model in outermost_pretrained(small) if sizes else ():
        config: Any = model.config
        fields = list(_fields(config, sizes))
        found = _Search(model, config, fields).run()
        if found:
            for one in _configs(model, config):
                for field, value in zip(fields, found, strict=True):
                    field.put(one, value)


def _changed_sizes(analysis: Analysis, widths: Mapping[str, int]) -> dict[int, list[int]]:
    """Dense size -> what dimensions and attributes of that size have become, the most frequent first."""
    full = analysis.widths() | dict(widths)
    counts: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    extents = [extent for shape in analysis.parameters.values() for extent in shape]
    extents += [extent for _, _, extent in analysis.attributes]
    for extent in extents:
        if isinstance(extent, Extent) and extent(full) != extent.dense:
            counts[extent.dense][extent(full)] += 1
    for group in analysis.groups:
        if full[group.name] != group.width:
            counts[group.width][full[group.name]] += 1
    return {dense: sorted(found, key=lambda size: -found[size]) for dense, found in counts.items()}


def _fields(config: Any, sizes: Mapping[int, list[int]], path: tuple[str, ...] = ()) -> Iterator[_Field]:
    for name, value in vars(config).items():
        if hasattr(value, "to_dict"):  # a config of a part
            yield from _fields(value, sizes, (*path, name))
        entries = list(enumerate(value)) if isinstance(value, list | tuple) else [(None, value)]
        for index, entry in entries:
            if type(entry) is int:
                field = _Field(path, name, index, entry, tuple(sizes.get(entry, ())), _shares(entry, sizes))
                if field.options or field.further:
                    yield field


def _shares(value: int, sizes: Mapping[int, list[int]]) -> tuple[int, ...]:
    """What a number may become with what it is a multiple of.

    Heads of queries that share keys and values are counted in the config, and nowhere in the network.
    """
    multiples = (old for old in sizes if value % old == 0 and 2 <= value // old <= _MOST_SHARING)
    pairs = [(old, new) for old in multiples for new in sizes[old]]
    return tuple(dict.fromkeys(value * new // old for old, new in pairs))


class _Search:
    """Which values the fields need, so that the stock class makes the model.

    Shapes have to agree. Where they do not determine a value (a number of heads), the modules' own numbers do, some of
    which nothing reads and nothing has updated; then following is better than not. A field that changes
    nothing (a token's number) stays as it is.

    Args:
        model: The cut network.
        config: Its config, still the dense network's.
        fields: What may change.
    """

    def __init__(self, model: nn.Module, config: Any, fields: list[_Field]) -> None:
        self._model, self._config, self._fields = model, config, fields
        self._own = shapes_of(model), numbers_of(model)
        self._known: dict[tuple[int, ...], _Made | None] = {}

    def run(self) -> list[int] | None:
        """The values; None if none were found.

        Starts where every field follows, where none does, and where one does, and changes one at a time as long as that
        is better. Shapes alone would take four heads of half the size for two whole ones: of what has the small
        network's shapes, that counts which has its numbers, too.
        """
        dense = [f.dense for f in self._fields]
        alone = [
            [*dense[:place], option, *dense[place + 1 :]]
            for place, f in enumerate(self._fields)
            for option in (*f.options, *f.further)
        ]
        best: list[int] | None = None
        for start in ([(*f.options, f.dense)[0] for f in self._fields], dense, *alone):
            end = self._descent(start)
            if best is None or self._wrong(end) < self._wrong(best):
                best = end
            if self._wrong(best)[:2] == (0, 0):
                break
        return self._without_idle(best) if best is not None and self._wrong(best)[0] == 0 else None

    def _descent(self, best: list[int]) -> list[int]:
        """From there to where no change of one field makes it better."""
        while True:
            better = min(_neighbours(best, self._fields), key=self._wrong, default=best)
            if self._wrong(better) >= self._wrong(best):
                return best
            best = better

    def _wrong(self, values: list[int]) -> tuple[int, int, int]:
        """Tensors that differ, numbers that differ, fields that do not follow."""
        made, (shapes, numbers) = self._made(values), self._own
        if made is None:
            return len(shapes) + 1, 0, 0
        differing = sum(made[1].get(name) != number for name, number in numbers.items())
        idle = sum(value not in f.options for f, value in zip(self._fields, values, strict=True) if f.options)
        return len(differences(shapes, made[0])), differing, idle

    def _made(self, values: list[int]) -> _Made | None:
        """Shapes and numbers of the stock model."""
        key = tuple(values)
        if key not in self._known:
            if len(self._known) >= _MOST_BUILDS:
                return None
            changed = copy.deepcopy(self._config)
            for field, value in zip(self._fields, values, strict=True):
                field.put(changed, value)
            stock = stock_model(self._model, changed)
            self._known[key] = None if stock is None else (shapes_of(stock), numbers_of(stock))
        return self._known[key]

    def _without_idle(self, values: list[int]) -> list[int]:
        """The same, where fields whose value the stock class does not show have that of the dense network."""
        for place, field in enumerate(self._fields):
            before = [*values[:place], field.dense, *values[place + 1 :]]
            if self._made(before) == self._made(values):
                values = before
        return values


def _neighbours(values: list[int], fields: list[_Field]) -> Iterator[list[int]]:
    """The same values with one field changed."""
    for place, field in enumerate(fields):
        for option in (*field.options, field.dense, *field.further):
            if option != values[place]:
                yield [*values[:place], option, *values[place + 1 :]]


def _configs(model: nn.Module, config: Any) -> list[Any]:
    """The model's config, and those of its modules that are copies of it."""
    found = {id(config): config}
    for module in model.modules():
        other: Any = getattr(module, "config", None)
        if type(other) is type(config) and other.to_dict() == config.to_dict():
            found[id(other)] = other
    return list(found.values())
