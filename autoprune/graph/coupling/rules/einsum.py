"""Rules of products with a parameter in any layout: einsum, matrices on the left, one matrix a head, bilinear forms."""

from __future__ import annotations

from string import ascii_letters

from torch.fx import Node

from autoprune.graph.coupling.atoms import Atoms
from autoprune.graph.coupling.flow import Flow, Result, Unknown, shape_of
from autoprune.graph.coupling.rule_table import Arguments, rule
from autoprune.graph.coupling.rules.attention import product
from autoprune.graph.coupling.walk import Walk

__all__ = ["contract", "product_letters"]


@rule("einsum")
def einsum(walk: Walk, node: Node, args: Arguments) -> Result:
    """Letters that agree are one width; those that the result lacks are summed over."""
    flows = [walk.need(part) for part in args["tensors"]]
    parts, output = _letters(str(args["equation"]), [len(flow.shape) for flow in flows])
    if any(len(set(part)) != len(part) for part in (*parts, output)):
        raise Unknown
    return contract(walk, node, flows, parts, output) if len(flows) == 2 else _of_any(walk, node, flows, parts, output)


def _of_any(walk: Walk, node: Node, flows: list[Flow], parts: list[str], output: str) -> Result:
    """One tensor, or three and more: what is summed over must stay whole, shared letters are tied, the others pass."""
    shape, dims = shape_of(node), dict[str, Atoms | None]()
    for flow, part in zip(flows, parts, strict=True):
        for letter, atoms in zip(part, flow.dims, strict=True):
            dims[letter] = walk.tie(dims[letter], atoms, node) if letter in dims else atoms
    for letter in dims.keys() - set(output):
        walk.freeze(dims[letter], node, "summed over by")
    if shape is None:
        raise Unknown
    params = [flow for flow in flows if flow.tensor is not None]
    given = [flow for flow in flows if flow.tensor is None]
    return walk.record(node, "other", given, Flow(shape, tuple(dims[letter] for letter in output)), params)


def _letters(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """The letters of each tensor and of the result; an ellipsis is written out, and so is a result left out.

    Raises:
        Unknown: The letters do not fit the tensors.
    """
    given, arrow, output = equation.replace(" ", "").partition("->")
    parts = given.split(",")
    spare = "".join(letter for letter in ascii_letters if letter not in equation)
    counts = [rank - len(part.replace("...", "")) for rank, part in zip(ranks, parts, strict=True)]
    most = max((count for count, part in zip(counts, parts, strict=True) if "..." in part), default=0)
    if any(count < 0 or (count > 0 and "..." not in part) for count, part in zip(counts, parts, strict=True)):
        raise Unknown
    if not arrow:
        once = sorted(letter for letter in set("".join(parts)) - {"."} if "".join(parts).count(letter) == 1)
        output = "".join(("..." if "..." in given else "", *once))
    whole = spare[:most]
    return [
        part.replace("...", whole[most - count :]) for part, count in zip(parts, counts, strict=True)
    ], output.replace("...", whole)


@rule("tensordot")
def tensordot(walk: Walk, node: Node, args: Arguments) -> Result:
    """A product that sums over the dimensions named, pair by pair."""
    flows = [walk.need(args["self"]), walk.need(args["other"])]
    ranks = [len(flow.shape) for flow in flows]
    letters = [list(ascii_letters[: ranks[0]]), list(ascii_letters[ranks[0] : sum(ranks)])]
    pairs = list(zip(args["dims_self"], args["dims_other"], strict=True))
    for one, other in pairs:
        letters[1][other] = letters[0][one]
    summed = {letters[0][one] for one, _ in pairs}
    output = [letter for part in letters for letter in part if letter not in summed]
    return contract(walk, node, flows, ["".join(part) for part in letters], "".join(output))


def contract(walk: Walk, node: Node, flows: list[Flow], parts: list[str], output: str) -> Result:
    """A product of two tensors as einsum writes it.

    Raises:
        Unknown: Not two tensors.
    """
    shape = shape_of(node)
    weights = [place for place, flow in enumerate(flows) if flow.tensor is not None]
    if shape is None or len(flows) != 2:
        raise Unknown
    if len(weights) == 2:
        return _of_weights(walk, node, flows, parts, output, shape)
    if not weights:
        return product(walk, node, flows, parts, output)
    weight, own = flows[weights[0]], parts[weights[0]]
    x, theirs = flows[1 - weights[0]], parts[1 - weights[0]]
    dims: dict[str, Atoms | None] = {}
    for letter in dict.fromkeys(theirs + own):
        sides = [f.dims[p.index(letter)] for f, p in ((x, theirs), (weight, own)) if letter in p]
        dims[letter] = walk.tie(sides[0], sides[-1], node) if len(sides) == 2 else sides[0]
    for letter in set(theirs + own) - set(output):
        if letter not in own or letter not in theirs:
            walk.freeze(dims[letter], node, "summed over by")
        else:
            walk.table.read(weight.dims[own.index(letter)])
    for letter in set(own) & set(output) - set(theirs):
        walk.table.made(dims[letter])
    result = Flow(shape, tuple(dims[letter] for letter in output))
    return _listed(walk, node, (x, theirs), (weight, own), (result, output))


def _of_weights(
    walk: Walk, node: Node, flows: list[Flow], parts: list[str], output: str, shape: tuple[int, ...]
) -> Result:
    """A product of two parameters is a weight of its own (low rank): what is summed over, one makes and one reads."""
    (one, other), (first, second) = flows, parts
    dims: dict[str, Atoms | None] = {}
    for letter in dict.fromkeys(first + second):
        sides = [flow.dims[part.index(letter)] for flow, part in zip(flows, parts, strict=True) if letter in part]
        dims[letter] = walk.tie(sides[0], sides[1], node) if len(sides) == 2 else sides[0]
    for letter in set(first + second) - set(output):
        if letter not in first or letter not in second:
            walk.freeze(dims[letter], node, "summed over by")
            continue
        walk.table.read(one.dims[first.index(letter)])
        walk.table.made(other.dims[second.index(letter)])
    return walk.record(node, "other", flows, Flow(shape, tuple(dims[letter] for letter in output)))


def _listed(
    walk: Walk, node: Node, given: tuple[Flow, str], weight: tuple[Flow, str], result: tuple[Flow, str]
) -> Flow:
    """List it as the linear layer that it is, widths last, where it is one; returns the result."""
    (x, theirs), (matrix, own), (output, made) = given, weight, result
    out, read = "".join(set(own) & set(made)), "".join(set(own) - set(made))
    summed_with_it = set(theirs) - {read} - set(made)  # positions that a linear layer would keep
    if len(out) != 1 or len(read) != 1 or out in theirs or read not in theirs or summed_with_it:
        return walk.record(node, "other", [x], output, [matrix])
    lines = [letter for letter in theirs if letter != read]
    source = _ordered(x, theirs, [*lines, read])
    target = _ordered(output, made, [*lines, out])
    walk.record(node, "linear", [source], target, [_ordered(matrix, own, [out, read])])
    return output


def _ordered(flow: Flow, letters: str, order: list[str]) -> Flow:
    axes = [letters.index(letter) for letter in order]
    return Flow(tuple(flow.shape[a] for a in axes), tuple(flow.dims[a] for a in axes), flow.tensor)


def product_letters(left: Flow, right: Flow) -> tuple[list[str], str]:
    """``left @ right`` in einsum's words; leading dimensions that are broadcast are not understood.

    Raises:
        Unknown: A vector on the left, or leading dimensions that are broadcast.
    """
    ranks = len(left.shape), len(right.shape)
    if ranks[1] == 1 < ranks[0]:
        letters = ascii_letters[: ranks[0] - 1]
        return [letters + "Y", "Y"], letters
    if min(ranks) < 2:
        raise Unknown
    batch = ascii_letters[: max(ranks) - 2]
    heads = [batch[len(batch) + 2 - rank :] for rank in ranks]
    if any(one != other for one, other in zip(left.shape[-3::-1], right.shape[-3::-1], strict=False)):
        raise Unknown
    return [heads[0] + "XY", heads[1] + "YZ"], batch + "XZ"


@rule("bilinear")
def bilinear(walk: Walk, node: Node, args: Arguments) -> Result:
    """``x1 @ W[k] @ x2`` for every output k."""
    one, other, weight = walk.need(args["input1"]), walk.need(args["input2"]), walk.need(args["weight"])
    bias, shape = walk.flow(args["bias"]), shape_of(node)
    if shape is None or weight.tensor is None:
        raise Unknown
    made, first, second = weight.dims
    walk.multiply(node, [(one.dims[-1], first), (other.dims[-1], second)], made, bias)
    params = (weight, bias)
    walk.note_attributes(node, params, in1_features=first, in2_features=second, out_features=made)
    return walk.record(node, "other", [one, other], Flow(shape, (*one.dims[:-1], made)), params)
