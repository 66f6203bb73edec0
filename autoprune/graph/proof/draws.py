"""Random draws of a forward, made the same for every unit while networks of different widths are compared.

A cut network draws fewer numbers than the dense one, so each of its units would get another one. Draws are
independent of each other and of the units: with one value for all of them, two networks are the same function of it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from autoprune.graph.trace.export import Trace

__all__ = ["steady_draws"]

_DROPOUTS = (
    "dropout",
    "alpha_dropout",
    "feature_dropout",
    "feature_alpha_dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
)
_NEW = ("rand", "randn", "rand_like", "randn_like")
_FILLED = ("normal_", "uniform_", "exponential_")
_VALUE = 0.375  # neither 0 nor 1, and exact in every precision


def steady_draws(trace: Trace) -> AbstractContextManager[Any]:
    """A context in which a network that draws random numbers when it is evaluated draws the same ones everywhere.

    It does nothing for all other networks: a mode of torch's functions also turns off torch's fused kernels.
    """
    return _Steady() if any(map(_draws, trace.graph.nodes)) else nullcontext()


def _draws(node: torch.fx.Node) -> bool:
    name = _base(getattr(node.target, "__name__", ""))
    if name in _DROPOUTS:
        return True in node.args or node.kwargs.get("train") is True
    is_dropping = name == "scaled_dot_product_attention" and any(_rate(node.args, node.kwargs))
    return is_dropping or name in _NEW or f"{name}_" in _FILLED or name == "bernoulli"


def _rate(args: Any, kwargs: Any) -> tuple[Any, ...]:
    """The share that attention drops, where one is given."""
    return (*args[4:5], *([kwargs["dropout_p"]] if "dropout_p" in kwargs else []))


def _base(name: str) -> str:
    """The name of a function, or of an ATen operator without its overload and its underscore."""
    return name.partition(".")[0].removesuffix("_")


class _Steady(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call ``func``, or give what it would draw."""
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "").partition(".")[0]
        base = name.removesuffix("_")
        if base in _DROPOUTS:
            return args[0] if args else kwargs["input"]
        if name in _FILLED:
            return args[0].fill_(_VALUE)
        if base == "bernoulli":
            return args[0].fill_(1) if name.endswith("_") else (args[0] > _VALUE).to(args[0].dtype)
        if base == "scaled_dot_product_attention":
            kwargs = {**kwargs, "dropout_p": 0.0} if len(args) < 5 else kwargs
            args = (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args
        made = func(*args, **kwargs)
        return made.fill_(_VALUE) if base in _NEW else made
