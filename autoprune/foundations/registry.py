"""Named things that users choose by name, and that other packages can add to: agents, targets, criteria, ...

A registry knows where each of its items lies and imports it when it is first asked for, so that listing names stays
cheap and a missing runtime costs nothing. It is open in three ways:

* `register()` adds an item, or the place of one, in this process;
* a Python entry point of the registry's group (`autoprune.agents`, `autoprune.targets`, ...) adds one from any
  installed package;
* where the registry allows it, `package.module:attribute` names something that is registered nowhere.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from autoprune.errors import InputError
from autoprune.foundations.names import nearest_name
from autoprune.foundations.user_code import described

__all__ = ["Registry"]

Item = TypeVar("Item")


class Registry(Generic[Item]):
    """Items by name, imported when they are asked for.

    Args:
        what: What one item is, for messages: "agent".
        homes: Name -> `module:attribute` of the items that ship, in the order in which they are listed.
        group: The entry-point group in which other packages name theirs; None where there is none.

    >>> colours = Registry("colour", {"red": "colorsys:rgb_to_hsv"})
    >>> colours.register("blue", 7)
    >>> list(colours), colours.get("blue")
    (['red', 'blue'], 7)
    >>> colours.get("bleu")
    Traceback (most recent call last):
    autoprune.errors.InputError: there is no colour 'bleu'; did you mean 'blue'?
    """

    def __init__(self, what: str, homes: Mapping[str, str], group: str | None = None) -> None:
        self.what, self.group = what, group
        self._homes: dict[str, str] = dict(homes)
        self._items: dict[str, Item] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All names, those that ship first."""
        return tuple(dict.fromkeys([*self._homes, *self._items, *self._foreign]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __len__(self) -> int:
        return len(self.names)

    def get(self, name: str) -> Item:
        """The item of a name.

        Raises:
            InputError: If there is none (the nearest name is given), or another package's cannot be imported.
        """
        if name not in self:
            raise InputError(f"there is no {self.what} {name!r}; {nearest_name(name, self.names)}")
        if name not in self._items:
            self._items[name] = self._imported(name)
        return self._items[name]

    def register(self, name: str, item: Item | str) -> None:
        """Add an item, or replace one.

        Args:
            name: What users call it.
            item: The item itself, or where it lies: `module:attribute`.
        """
        if isinstance(item, str):
            self._homes[name] = item
            self._items.pop(name, None)
        else:
            self._items[name] = item

    def unregister(self, name: str) -> None:
        """Take an item that was registered off again; names that are unknown are ignored."""
        self._homes.pop(name, None)
        self._items.pop(name, None)

    def name_at(self, home: str) -> str | None:
        """The name whose item lies at `module:attribute`, if there is one."""
        places = {where: name for name, where in self._homes.items()}
        places |= {where.value.replace(" ", ""): name for name, where in self._foreign.items()}
        return places.get(home)

    @cached_property
    def _foreign(self) -> dict[str, EntryPoint]:
        """Entry points of other packages; a name that ships cannot be taken by one."""
        found = entry_points(group=self.group) if self.group else ()
        return {point.name: point for point in found if point.name not in self._homes}

    def _imported(self, name: str) -> Item:
        if name in self._homes:
            module, _, attribute = self._homes[name].partition(":")
            item: Any = getattr(importlib.import_module(module), attribute)
        else:
            point = self._foreign[name]
            try:
                item = point.load()
            except (Exception, SystemExit) as error:  # another package's module may raise anything
                raise InputError(f"the {self.what} {name!r} of {point.value} failed: {described(error)}") from error
        loaded: Item = item
        return loaded
