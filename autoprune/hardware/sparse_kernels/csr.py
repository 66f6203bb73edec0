"""Unstructured zeros on a processor: linear layers in compressed sparse rows, where these are measured to be faster."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.hardware.contract.protocol import Protocol
from autoprune.hardware.timing.clocks import CpuClock
from autoprune.hardware.timing.loop import time_calls
from autoprune.models.copying import duplicate
from autoprune.models.inputs.example import as_example
from autoprune.models.outputs import output_of

__all__ = ["CsrLinear", "timed_csr", "with_csr"]


class CsrLinear(nn.Module):
    """A linear layer whose weight is stored without its zeros, (outputs, inputs) in compressed sparse rows.

    Args:
        linear: The dense layer, with its zeros.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the layout is in beta
            self.register_buffer("weight", linear.weight.detach().to_sparse_csr())
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        rows = torch.mm(self.weight, x.reshape(-1, x.shape[-1]).T).T
        out = rows.reshape(*x.shape[:-1], rows.shape[-1])
        return out if self.bias is None else out + self.bias


def with_csr(model: nn.Module, names: list[str]) -> nn.Module:
    """A copy in which some linear layers are stored as compressed sparse rows."""
    made = duplicate(model).eval()
    for name in names:
        parent, _, own = name.rpartition(".")
        linear = made.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        setattr(made.get_submodule(parent), own, CsrLinear(linear))
    return made


def timed_csr(model: nn.Module, example: Any, protocol: Protocol | None = None) -> dict[str, Any]:
    """Layer by layer, dense beside compressed rows in turn in PyTorch on one thread; then the whole network.

    Args:
        model: With zeros, on the processor; left as it is.
        example: An input with the batch that will be used.
        protocol: Of each timing.

    Returns:
        `layers` (name, density, `dense_ms`, `csr_ms`), `chosen` (names of those that are faster as compressed rows),
        `dense_ms` and `csr_ms` of the whole network; the same figure twice where no layer is faster.
    """
    known, given = protocol or Protocol.entries(), as_example(example)
    linears = {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear and module.weight.device.type == "cpu"
    }
    inputs = _inputs_of(model, given, linears)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            rows = [_row(name, linears[name], x, known) for name, x in inputs.items()]
            chosen = [row["name"] for row in rows if row["csr_ms"] < row["dense_ms"]]
            networks = [duplicate(model).eval(), *([with_csr(model, chosen)] if chosen else [])]
            taken = time_calls([lambda n=n: output_of(given.run(n)) for n in networks], CpuClock(), known)  # type: ignore[misc]
    finally:
        torch.set_num_threads(threads)
    return {"layers": rows, "chosen": chosen, "dense_ms": taken[0].ms, "csr_ms": taken[-1].ms}


def _row(name: str, linear: nn.Linear, x: Tensor, protocol: Protocol) -> dict[str, Any]:
    sparse = CsrLinear(linear)
    dense, compressed = time_calls([lambda: linear(x), lambda: sparse(x)], CpuClock(), protocol)
    density = float((linear.weight != 0).double().mean())
    return {"name": name, "density": density, "dense_ms": dense.ms, "csr_ms": compressed.ms}


def _inputs_of(model: nn.Module, example: Any, linears: dict[str, nn.Linear]) -> dict[str, Tensor]:
    """What each layer that is called gets in a call of the network."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _, args: found.update({name: args[0].detach()})

    hooks = [module.register_forward_pre_hook(keep(name)) for name, module in linears.items()]
    try:
        with torch.inference_mode():
            example.run(model)
    finally:
        for hook in hooks:
            hook.remove()
    return found
