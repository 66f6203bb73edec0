"""Where the sizes come from that a forward writes down: a module's attribute, a tensor's shape, or a bare number.

In an exported graph ``view(b, t, self.num_heads, -1)`` says ``view(2, 10, 4, -1)``. Here the model is traced with
numbers that remember their origin, and each call that is given such a number leaves a note on its graph nodes. So
the walk can tell which attributes count a width (they follow the cut) and which of several dimensions may shrink.
A note is a hint: whatever is concluded from it is proven on a cut copy like everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.fx import Node
from torch.fx.traceback import annotate, preserve_node_meta
from torch.overrides import TorchFunctionMode

__all__ = ["Notes", "Origin", "factors", "noted", "origins"]

Origin = tuple[Any, ...]
"""("attribute", module, name, its value), ("shape",), ("product", origin or number, ...) or ("computed",)."""

_NOTE = "autoprune.sizes"
_COMPUTED: Origin = ("computed",)


class _Size(int):
    """A number that remembers where it comes from."""

    origin: Origin

    def __new__(cls, value: int, origin: Origin) -> _Size:
        self = super().__new__(cls, value)
        self.origin = origin
        return self

    def __mul__(self, other: Any) -> Any:
        product = int.__mul__(self, other)
        if product is NotImplemented:
            return product
        return _Size(product, ("product", self.origin, getattr(other, "origin", int(other))))

    __rmul__ = __mul__

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Size, (int(self), self.origin))

    def __deepcopy__(self, memo: Any) -> _Size:
        return self


def _computing(name: str) -> Any:
    plain = getattr(int, name)

    def operation(self: int, *others: Any) -> Any:
        result = plain(self, *others)
        return _Size(result, _COMPUTED) if type(result) is int else result

    return operation


for _name in ("add", "radd", "sub", "rsub", "floordiv", "rfloordiv", "mod", "rmod"):
    setattr(_Size, f"__{_name}__", _computing(f"__{_name}__"))


class Notes(TorchFunctionMode):
    """While it is on, shapes are numbers that remember, and calls given such numbers are annotated with them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__" and getattr(getattr(func, "__self__", None), "__name__", "") == "shape":
            return _remembering(func(*args, **kwargs))
        if name == "size":
            return _remembering(func(*args, **kwargs))
        leaves = torch.utils._pytree.tree_leaves((args, kwargs))
        if not any(isinstance(leaf, _Size) for leaf in leaves):
            return func(*args, **kwargs)
        numbers = [leaf for leaf in leaves if isinstance(leaf, int) and not isinstance(leaf, bool)]
        with annotate({_NOTE: [(int(n), getattr(n, "origin", None)) for n in numbers]}):
            return func(*args, **kwargs)


def _remembering(sizes: Any) -> Any:
    if type(sizes) is int:
        return _Size(sizes, ("shape",))
    if isinstance(sizes, torch.Size) and all(type(size) is int for size in sizes):
        return torch.Size([_Size(size, ("shape",)) for size in sizes])
    return sizes


@contextmanager
def noted(model: nn.Module) -> Iterator[None]:
    """While it is on, the whole numbers among the modules' attributes remember where they stand.

    torch's own modules are left out: what their numbers mean is known.

    Args:
        model: Changed while the context lasts, and put back.
    """
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    for path, module in model.named_modules():
        if type(module).__module__.partition(".")[0] == "torch":
            continue
        for name, value in list(vars(module).items()):
            if (kept := _marked(value, path, name)) is not value:
                replaced.append((vars(module), name, value))
                vars(module)[name] = kept
    try:
        with preserve_node_meta():
            yield
    finally:
        for attributes, name, value in replaced:
            attributes[name] = value


def _marked(value: Any, module: str, name: str) -> Any:
    if type(value) is int:
        return _Size(value, ("attribute", module, name, value))
    if type(value) in (list, tuple) and value and all(type(entry) is int for entry in value):
        return type(value)(_Size(entry, ("attribute", module, f"{name}.{i}", entry)) for i, entry in enumerate(value))
    return value


def origins(node: Node, values: Sequence[Any]) -> list[Origin | None]:
    """The origin of each of the numbers ``values`` that ``node``'s call was given in a row; None where not known."""
    wanted = [value for value in values if type(value) is int]
    note = (node.meta.get("custom") or {}).get(_NOTE) or []
    if len(wanted) != len(values):
        return [None] * len(values)
    for start in range(len(note) - len(wanted) + 1):
        found = note[start : start + len(wanted)]
        if [number for number, _ in found] == wanted:
            return [origin for _, origin in found]
    return [None] * len(values)


def factors(origin: Origin) -> Iterator[Origin]:
    """The origins of a product's factors, products of products taken apart."""
    for part in origin[1:]:
        if isinstance(part, tuple):
            yield from factors(part) if part[0] == "product" else (part,)
