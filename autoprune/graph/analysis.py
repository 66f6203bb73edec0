"""What an analysis is made of: plain values, free of any reference to the model.

An ``Analysis`` pickles, so it can be cached and sent to workers; everything that has to be known to price,
cut or zero the network is in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autoprune.errors import InputError
from autoprune.graph.block import Block, enclosing_blocks
from autoprune.graph.extent import Extent, Shape, count_of, size_of

__all__ = ["Analysis", "Extent", "Group", "Index", "Member", "Op", "Shape"]

Index = NDArray[np.int64]
"""Places along one dimension of a tensor, ascending."""


@dataclass(frozen=True)
class Op:
    """One executed operator of the network that costs something; shapes are those at batch size 1.

    Attributes:
        name: Qualified name of the module that is this operator; the graph node's name where there is none
            (``F.relu``, ``+``). A module that is called twice gives two operators of one name.
        node: Name of the graph node; unique.
        kind: "conv", "depthwise" (a convolution with as many groups as input channels), "linear",
            "batch_norm", "relu" (any elementwise function), "add" (any arithmetic on two tensors), "pool" or
            "other".
        operator: The ATen operator, as in "aten.conv2d.default".
        inputs: Shapes of the activations that it reads (parameters and buffers not among them).
        output: Shape of its (first) result.
        kernel: Kernel size of a convolution or pooling window; () elsewhere. An adaptive pooling has ().
        stride: As ``kernel``.
        padding: As ``kernel``.
        dilation: As ``kernel``.
        groups: Groups of a convolution; 1 elsewhere.
        bias: Whether a convolution or linear layer has one.
        params: Shapes of the parameters and buffers that it reads, in the order of the operator's arguments
            (a convolution's weight first).
        transposed: Whether it is a transposed convolution, whose weight is (in, out / groups, kernel).
        tensors: Names of the parameters and buffers in ``params``; a computed one has that of the first it is made of.
        weight_dims: Which dimensions of its weight's parameter count the outputs and the inputs of a convolution or
            linear layer: (0, 1), or (1, 0) of one that is stored the other way round. None where the weight is
            computed, so that zeros of a parameter need not be zeros of the weight.
        called: Whether it is executed by calling the module of that name; not where another module reads its weight.
    """

    name: str
    node: str
    kind: str
    operator: str
    inputs: tuple[Shape, ...]
    output: Shape
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: Extent | int = 1
    bias: bool = False
    params: tuple[Shape, ...] = ()
    transposed: bool = False
    tensors: tuple[str | None, ...] = ()
    weight_dims: tuple[int, int] | None = None
    called: bool = True

    def macs(self, widths: Mapping[str, int]) -> int:
        """Multiply-accumulates of a convolution or linear layer for a batch of one; 0 for all others.

        A bias is not counted.
        """
        if self.kind not in ("conv", "depthwise", "linear"):
            return 0
        weight = [size_of(extent, widths) for extent in self.params[0]]
        # Every output element reads one row of the weight; for a transposed convolution, every input element.
        pixels = self.inputs[0] if self.transposed else self.output
        return count_of(pixels, widths) * math.prod(weight[1:])


@dataclass(frozen=True, eq=False)
class Member:
    """Where the units of a group lie in one dimension of one parameter or buffer.

    Attributes:
        tensor: Qualified name of the parameter or buffer.
        dim: The dimension that shrinks.
        positions: int64 tensor (units, m): row u holds the positions that unit u owns along ``dim``, ascending.
        role: "producer" (the rows that make the unit), "consumer" (the columns that read it; zeroing them
            silences it), "both" (one tensor that does both: an embedding that is the output layer too) or
            "carrier" (elementwise and normalisation parameters in between).
        module: Qualified name of the module that holds the tensor.
    """

    tensor: str
    dim: int
    positions: torch.Tensor
    role: str
    module: str

    @property
    def makes(self) -> bool:
        """Whether it makes the unit."""
        return self.role in ("producer", "both")

    @property
    def reads(self) -> bool:
        """Whether it reads the unit."""
        return self.role in ("consumer", "both")


@dataclass(frozen=True, eq=False)
class Group:
    """Coupled channels that live and die together: one decision.

    Attributes:
        name: Qualified name of the module that produces it first in forward order (":1", ":2" ... appended
            where one module produces several groups). Unique.
        width: Units of the dense network.
        members: All dimensions that shrink with it, in forward order.
        kind: The kind of decision: "heads", "head_size" (of queries and keys, of values, or of all three), "ffn"
            (hidden width of a perceptron), "embedding" (of a residual stream) or "channels".
        oracle: What the cut network was proven to equal. "zero": the dense network in which the dropped units'
            readers are zeroed, which is what ``zero`` gives. "normalised": that, with each norm over this width
            (LayerNorm, RMSNorm, GroupNorm over parts of its groups) computed over the kept units only; ``zero``
            silences the readers here too, but its norms still see the dropped units, so its outputs differ.
        summed: Whether a product of two activations sums over the units (queries by keys): no parameter reads them
            there, so they are silenced by zeroing all of ``members``.
        least: Fewest units that may be kept: 2 where one alone fails (it has no deviation), else 1.
    """

    name: str
    width: int
    members: tuple[Member, ...]
    kind: str = "channels"
    oracle: str = "zero"
    summed: bool = False
    least: int = 1

    @property
    def producers(self) -> tuple[str, ...]:
        """Modules whose outputs are this group's units, first in forward order first, each once."""
        return tuple(dict.fromkeys(m.module for m in self.members if m.makes))

    @property
    def silencers(self) -> tuple[Member, ...]:
        """The members that silence a unit where they are 0."""
        return self.members if self.summed else tuple(m for m in self.members if m.reads)

    @property
    def consumers(self) -> tuple[str, ...]:
        """Modules whose parameters read this group's units, each once."""
        return tuple(dict.fromkeys(m.module for m in self.members if m.reads))


@dataclass(frozen=True, eq=False)
class Analysis:
    """What may be pruned in a model, and all that follows from it. Picklable.

    Attributes:
        groups: The decisions, in forward order; validated unless asked otherwise.
        frozen: Qualified module name -> why its outputs (or some of them) cannot be pruned.
        ops: The executed operators that cost something, in forward order.
        fingerprint: Ordered layers (name, type, parameter shapes) and a sha256 over them; JSON-able.
        parameters: Qualified name of every distinct parameter -> its shape.
        attributes: (module, attribute, size): module attributes that follow the widths; "normalized_shape.0" is
            the first entry of a tuple.
        example_shapes: Shapes of the example's tensors, as they were handed over.
        example_dtypes: Their types, such as `float32`.
        blocks: Residual branches that can be dropped, in forward order; validated unless asked otherwise. None where
            the analysis was made without them.
        undroppable: Name of a residual branch -> why it cannot be dropped.
    """

    groups: tuple[Group, ...]
    frozen: Mapping[str, str]
    ops: tuple[Op, ...]
    fingerprint: Mapping[str, Any]
    parameters: Mapping[str, Shape]
    attributes: tuple[tuple[str, str, Extent], ...]
    example_shapes: tuple[tuple[int, ...], ...]
    example_dtypes: tuple[str, ...]
    blocks: tuple[Block, ...] = ()
    undroppable: Mapping[str, str] = field(default_factory=dict)
    _by_name: dict[str, Group] = field(init=False, repr=False, default_factory=dict)
    _enclosing: dict[str, tuple[str, ...]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._by_name.update({group.name: group for group in self.groups})
        things = {thing for block in self.blocks for thing in (*block.nodes, *block.tensors)}
        self._enclosing.update({thing: enclosing_blocks(self.blocks, thing) for thing in things})

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape of the example's first tensor, as it was handed over."""
        return self.example_shapes[0] if self.example_shapes else ()

    @property
    def has_attention(self) -> bool:
        """Whether the network attends: by torch's own operator, or by a softmax and a product of two activations."""
        called = [op.operator for op in self.ops]
        if any("attention" in name for name in called):
            return True
        multiplies = (".bmm", ".matmul", ".einsum")
        products = any(len(op.inputs) > 1 for op in self.ops if any(name in op.operator for name in multiplies))
        return products and any("softmax" in name for name in called)

    def group(self, name: str) -> Group:
        """The group of that name.

        Raises:
            InputError: There is none.
        """
        try:
            return self._by_name[name]
        except KeyError:
            why = self.frozen.get(name)
            hint = f"it is frozen: {why}" if why else "see the names in analysis.groups"
            raise InputError(f"no prunable group is called {name!r}; {hint}") from None

    def enclosing_blocks(self, thing: str) -> tuple[str, ...]:
        """The blocks that an operator (its ``node``), a parameter or a buffer goes with when one of them is dropped."""
        return self._enclosing.get(thing, ())

    def within(self, name: str) -> tuple[tuple[str, ...], ...]:
        """The blocks around each place where a group's units lie; () if it has a place that no block takes away.

        The group's width matters as long as one place has all of its blocks (`autoprune.graph.block.is_active`).
        """
        places = dict.fromkeys(self.enclosing_blocks(member.tensor) for member in self.group(name).members)
        # A place with more blocks around it than another one is gone when that one is.
        least = tuple(place for place in places if not any(set(other) < set(place) for other in places))
        return () if () in least else least

    def widths(self, chosen: Mapping[str, int] | None = None) -> dict[str, int]:
        """Kept units of every group and block: ``chosen`` where given, else the dense width (1 for a block).

        Raises:
            InputError: ``chosen`` names an unknown group or a width outside least..dense (0..1 for a block).
        """
        widths = {group.name: group.width for group in self.groups} | {block.name: 1 for block in self.blocks}
        blocks = {block.name for block in self.blocks}
        for name, kept in (chosen or {}).items():
            least, most = (0, 1) if name in blocks else (self.group(name).least, self.group(name).width)
            if not least <= kept <= most:
                raise InputError(f"{name}: cannot keep {kept} of {most} units{f', {least} at least' * (least > 1)}")
            widths[name] = int(kept)
        return widths

    def param_total(self, widths: Mapping[str, int] | None = None) -> int:
        """Parameters of the network at ``widths`` (missing groups stay dense); shared ones count once."""
        full = self.widths(widths)
        return sum(count_of(shape, full) for name, shape in self.parameters.items() if self._stays(name, full))

    def macs(self, widths: Mapping[str, int] | None = None) -> int:
        """Multiply-accumulates of all convolutions and linear layers, batch 1 (missing groups stay dense)."""
        full = self.widths(widths)
        return sum(op.macs(full) for op in self.ops if self._stays(op.node, full))

    def _stays(self, thing: str, widths: Mapping[str, int]) -> bool:
        return all(widths[name] for name in self.enclosing_blocks(thing))
