"""Where the sizes come from that a forward writes down: a module's attribute, a tensor's shape, or a bare number.

In an exported graph ``view(b, t, self.num_heads, -1)`` says ``view(2, 10, 4, -1)``. Here the model is traced with
numbers that remember their origin, and each call that is given such a number annotates its graph nodes. So
the walk can tell which attributes count a width (they follow the cut) and which of several dimensions may shrink.
An annotation is a hint: whatever is concluded from it is proven on a cut copy like everything else.
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

__all__ = ["Origin", "SizeOrigins", "call_of", "factors", "origin_of_last", "origins", "recording"]

Origin = tuple[Any, ...]
"""One of ("attribute", module, name, its value), ("shape", call, which of its results, axis), ("product", origin or
number, ...), ("sum", one, other), ("difference", one, other), ("computed",) and ("unknown",); a number is one of the
code's own. Calls are numbered in the order of the trace; -1 is none of them."""

_SIZES, _CALL = "autoprune.sizes", "autoprune.call"
_COMPUTED: Origin = ("computed",)
_UNKNOWN: Origin = ("unknown",)
_USERS_OWN = (nn.Transformer, nn.Unflatten)  # torch's modules whose sizes are their user's


class _Size(int):
    """A number that remembers where it comes from."""

    origin: Origin
    compared: list[tuple[Origin, Origin]]

    def __new__(cls, value: int, origin: Origin, compared: list[tuple[Origin, Origin]]) -> _Size:
        self = super().__new__(cls, value)
        self.origin, self.compared = origin, compared
        return self

    def __eq__(self, other: object) -> bool:
        self._compare(other)
        return int.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        self._compare(other)
        return int.__ne__(self, other)

    __hash__ = int.__hash__

    def _compare(self, other: object) -> None:
        if isinstance(other, _Size):
            self.compared.append((self.origin, other.origin))

    def __mul__(self, other: Any) -> Any:
        product = int.__mul__(self, other)
        if product is NotImplemented:
            return product
        return _Size(product, ("product", self.origin, getattr(other, "origin", int(other))), self.compared)

    __rmul__ = __mul__

    def __neg__(self) -> _Size:
        return _Size(-int(self), ("difference", 0, self.origin), self.compared)

    def __reduce__(self) -> tuple[Any, ...]:
        return (int, (int(self),))

    def __deepcopy__(self, memo: Any) -> _Size:
        return self


def _computing(name: str) -> Any:
    plain = getattr(int, name)

    def operation(self: _Size, *others: Any) -> Any:
        result = plain(self, *others)
        return _Size(result, _COMPUTED, self.compared) if type(result) is int else result

    return operation


def _joining(name: str, kind: str, *, turned: bool) -> Any:
    plain = getattr(int, name)

    def operation(self: _Size, other: Any) -> Any:
        result = plain(self, other)
        if type(result) is not int:
            return result
        pair = self.origin, getattr(other, "origin", int(other))
        return _Size(result, (kind, *(pair[::-1] if turned else pair)), self.compared)

    return operation


for _name in ("floordiv", "rfloordiv", "mod", "rmod"):
    setattr(_Size, f"__{_name}__", _computing(f"__{_name}__"))
for _name, _kind in (("add", "sum"), ("sub", "difference")):
    for _prefix in ("", "r"):
        _operator = f"__{_prefix}{_name}__"
        setattr(_Size, _operator, _joining(_operator, _kind, turned=bool(_prefix)))


class SizeOrigins(TorchFunctionMode):
    """While it is on, shapes are numbers that remember, and calls are annotated with a number and the sizes given.

    Attributes:
        compared: Origins of sizes that the forward compared with each other: where one follows a cut, both must.
    """

    def __init__(self) -> None:
        super().__init__()
        self.compared: list[tuple[Origin, Origin]] = []
        self._calls = 0
        self._made: dict[int, tuple[torch.Tensor, int, int]] = {}  # id -> tensor (kept alive), call, which result

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call ``func`` and annotate the nodes that it makes."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "size" or (name == "__get__" and getattr(func.__self__, "__name__", "") == "shape"):
            return self._remembering(args[0], func(*args, **kwargs), args[1] if len(args) > 1 else kwargs.get("dim", 0))
        if name == "__get__":
            return func(*args, **kwargs)
        leaves = torch.utils._pytree.tree_leaves((args, kwargs))
        leaves = [part for leaf in leaves for part in (_bounds(leaf) if isinstance(leaf, slice) else (leaf,))]
        numbers = [leaf for leaf in leaves if isinstance(leaf, int) and not isinstance(leaf, bool)]
        self._calls += 1
        with annotate({_CALL: self._calls, _SIZES: [(int(n), getattr(n, "origin", None)) for n in numbers]}):
            result = func(*args, **kwargs)
        results = result if isinstance(result, list | tuple) else [result]
        for place, tensor in enumerate(results):
            if isinstance(tensor, torch.Tensor):
                self._made[id(tensor)] = (tensor, self._calls, place)
        return result

    def _remembering(self, tensor: Any, sizes: Any, axis: int) -> Any:
        _, call, place = self._made.get(id(tensor), (None, -1, 0))
        if type(sizes) is int:
            return _Size(sizes, ("shape", call, place, axis), self.compared)
        if isinstance(sizes, torch.Size) and all(type(size) is int for size in sizes):
            return torch.Size([_Size(s, ("shape", call, place, i), self.compared) for i, s in enumerate(sizes)])
        return sizes


def _bounds(part: slice) -> tuple[Any, ...]:
    return part.start, part.stop, part.step


@contextmanager
def recording(model: nn.Module, origins: SizeOrigins) -> Iterator[None]:
    """While it is on, the whole numbers among the modules' attributes remember which attribute they are.

    So do those of a configuration that the modules hold. torch's own layers are left out, as what their numbers mean
    is known; but not those whose sizes are their user's.

    Args:
        model: Changed while the context lasts, and put back.
        origins: What the numbers report to.
    """
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    seen: set[int] = set()

    def replace(attributes: dict[str, Any], path: str, prefix: str) -> None:
        for name, value in list(attributes.items()):
            if (kept := _marked(value, path, prefix + name, origins.compared)) is not value:
                replaced.append((attributes, name, value))
                attributes[name] = kept

    for path, module in model.named_modules():
        if type(module).__module__.partition(".")[0] == "torch" and not isinstance(module, _USERS_OWN):
            continue
        replace(vars(module), path, "")
        config = vars(module).get("config")
        if type(getattr(config, "__dict__", None)) is dict and id(config) not in seen:
            seen.add(id(config))
            replace(vars(config), path, "config.")
    try:
        with preserve_node_meta():
            yield
    finally:
        for attributes, name, value in replaced:
            attributes[name] = value


def _marked(value: Any, module: str, name: str, compared: list[tuple[Origin, Origin]]) -> Any:
    if type(value) is int:
        return _Size(value, ("attribute", module, name, value), compared)
    if type(value) in (list, tuple) and value and all(type(entry) is int for entry in value):
        places = [(entry, ("attribute", module, f"{name}.{i}", entry)) for i, entry in enumerate(value)]
        return type(value)(_Size(entry, origin, compared) for entry, origin in places)
    return value


def origins(node: Node, values: Sequence[Any]) -> list[Origin | None]:
    """The origin of each of the numbers ``values`` that ``node``'s call was given in a row.

    None for a bare number; ("unknown",) where nothing is known about the call.
    """
    given = (node.meta.get("custom") or {}).get(_SIZES) or []
    for start in range(len(given) - len(values) + 1):
        found = given[start : start + len(values)]
        if [number for number, _ in found] == list(values):
            return [origin for _, origin in found]
    return [_UNKNOWN] * len(values)


def origin_of_last(node: Node, value: int) -> Origin | None:
    """The origin of the last number ``value`` that ``node``'s call was given, as ``origins`` gives it."""
    given = (node.meta.get("custom") or {}).get(_SIZES) or []
    return next((origin for number, origin in reversed(given) if number == value), _UNKNOWN)


def call_of(node: Node) -> int | None:
    """The number of the call that made a node; None where not known."""
    return (node.meta.get("custom") or {}).get(_CALL)


def factors(origin: Origin) -> Iterator[Origin]:
    """The origins of a product's factors, products of products taken apart."""
    for part in origin[1:]:
        if isinstance(part, tuple):
            yield from factors(part) if part[0] == "product" else (part,)
