"""The proof of every group: the user's own forward on a cut copy against the dense network with those units silent.

It runs on a copy in double precision with random weights and BatchNorm statistics, so that a unit that happens to
be dead in the user's weights, or a BatchNorm that maps 0 to 0, cannot hide a mistake.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from autoprune.graph.analysis import Analysis, Index
from autoprune.graph.coupling.norms import NormLine
from autoprune.graph.proof.draws import steady_draws
from autoprune.graph.proof.network_copy import SEED, call, prepared, resized
from autoprune.graph.proof.reference import Reference
from autoprune.graph.surgery.slicer import Slicer
from autoprune.graph.surgery.weight_sharing import Selector
from autoprune.graph.trace.export import Trace
from autoprune.graph.trace.quiet import quiet
from autoprune.graph.trace.source_lines import exception_line, raised
from autoprune.models.inputs.example import Example

__all__ = ["Proof"]

_TOGETHER = 4  # groups tried in one run; a set that fails is halved
_TWO = 2  # the fewest units that have a deviation


class Proof:
    """Tries the groups of one analysis.

    Args:
        model: The dense model; not changed.
        analysis: Its groups, not yet proven.
        example: An example input.
        traced: The trace that the analysis was read off.
        norms: Its operators that normalise over groups' units.

    Attributes:
        reasons: Group name -> why it must not be used.
        least: Group name -> fewest units that it may keep: 2 where one alone fails and more are right.
    """

    def __init__(
        self, model: nn.Module, analysis: Analysis, example: Example, traced: Trace, norms: Sequence[NormLine]
    ) -> None:
        self.reasons: dict[str, str] = {}
        self.least = {group.name: group.least for group in analysis.groups}
        self._alone: list[str] = []  # those refused that fail without any other
        self._traced = traced
        self._names = [group.name for group in analysis.groups]
        self._rng = np.random.default_rng(SEED)
        self._width = {group.name: group.width for group in analysis.groups}
        self._slicer = Slicer(analysis)
        self._dense, self._example, self._tolerance = prepared(
            model, example.with_batch(traced.batch if norms else 1), example, traced.casts
        )
        self._selector = Selector(self._dense, analysis)
        self._tensors = {**dict(self._dense.named_parameters()), **dict(self._dense.named_buffers())}
        self._normalised = {group.name for group in analysis.groups if group.oracle == "normalised"}
        self._reference = Reference(traced, norms, self._tensors)

    def run(self) -> dict[str, str]:
        """Prove every group at its least and at a random width, then all together; name those that fail."""
        with quiet(), steady_draws(self._traced), torch.no_grad():
            self._trust_the_trace()
            for narrowest in (True, False):
                parts = math.ceil(len(self._names) / _TOGETHER)
                for start in range(parts):  # strided, as neighbours are the likeliest to hide each other
                    names = [n for n in self._names[start::parts] if n not in self.reasons]
                    self._search(names, self._draw(names, narrowest))
                if narrowest:
                    self._allow_two()
            for _ in range(3):
                names = [n for n in self._names if n not in self.reasons]
                self._search(names, self._draw(names, False))
        return self.reasons

    def run_at_another_size(self, example: Example, traced: Trace, norms: Sequence[NormLine]) -> bool:
        """Prove every group at this size, and all of them together at the size of another example.

        Returns:
            Whether nothing failed; else nothing is proven.
        """
        least = dict(self.least)
        if self.run() or self.least != least:
            return False
        full = resized(self._dense, example.with_batch(traced.batch if norms else 1))
        if full is None:
            return False
        self._example, self._traced = full, traced
        self._reference = Reference(traced, norms, self._tensors)
        with quiet(), steady_draws(traced), torch.no_grad():
            self._trust_the_trace()
            return not self.reasons and self._try(self._names, self._wide(self._names)) is None

    def _wide(self, names: Sequence[str]) -> dict[str, Index]:
        """At least half of the units of each group: with few everywhere, the output might depend on nothing."""
        halves = {name: max(self.least[name], (self._width[name] + 1) // 2) for name in names}
        sizes = {n: int(self._rng.integers(half, max(half + 1, self._width[n]))) for n, half in halves.items()}
        return {name: self._units(name, size) for name, size in sizes.items()}

    def _trust_the_trace(self) -> None:
        """Refuse the normalised widths where the reference does not give what the user's own forward gives."""
        if not self._normalised:
            return
        torch.manual_seed(SEED)
        try:
            got = self._reference.run(self._example, {})
        except Exception as error:  # noqa: BLE001 - traced for one precision and run in another
            why = f"its norms cannot be run over some units only: {exception_line(error)}"
        else:
            why = self._difference(got, call(self._dense, self._example)) or ""
            why = why and "its norms cannot be checked: the traced graph differs from the model's forward"
        if why:
            self.reasons.update(dict.fromkeys(self._normalised, why))
            self._names = [name for name in self._names if name not in self._normalised]

    def _draw(self, names: Sequence[str], narrowest: bool) -> dict[str, Index]:
        """Random units for each group: as few as may be, or a random number."""
        return {name: self._units(name, self._size(name, narrowest)) for name in names}

    def _size(self, name: str, narrowest: bool) -> int:
        least = self.least[name]
        return least if narrowest else int(self._rng.integers(least, self._width[name]))

    def _units(self, name: str, size: int) -> Index:
        return np.sort(self._rng.permutation(self._width[name])[:size])

    def _allow_two(self) -> None:
        """Take back the refusal of groups that only fail at one unit: one alone has no deviation, two have.

        Two, three and all but one: what is right for even numbers only must not pass.
        """
        for name in [name for name in self._alone if self._width[name] > _TWO]:
            sizes = sorted({_TWO, _TWO + 1, self._width[name] - 1} - {self._width[name]})
            if all(self._try([name], {name: self._units(name, size)}) is None for size in sizes):
                del self.reasons[name]
                self.least[name] = _TWO

    def _search(self, names: Sequence[str], policy: Mapping[str, Index]) -> None:
        """Find what fails among ``names``: single groups by halving; if only the union fails, who completes it."""
        if not names or self._try(names, policy) is None:
            return
        if len(names) == 1:
            self.reasons[names[0]] = str(self._try(names, policy))
            self._alone.append(names[0])
            return
        half = len(names) // 2
        before = len(self.reasons)
        self._search(names[:half], policy)
        self._search(names[half:], policy)
        rest = [name for name in names if name not in self.reasons]
        if len(self.reasons) == before:
            self._blame(rest, policy)
            rest = [name for name in rest if name not in self.reasons]
        self._search(rest, policy)

    def _blame(self, names: Sequence[str], policy: Mapping[str, Index]) -> None:
        """Refuse the last group of the shortest failing prefix."""
        good, bad = 0, len(names)
        while bad - good > 1:
            middle = (good + bad) // 2
            if self._try(names[:middle], policy) is None:
                good = middle
            else:
                bad = middle
        why = self._try(names[:bad], policy)
        self.reasons[names[bad - 1]] = f"together with other groups, {why}"

    def _try(self, names: Sequence[str], policy: Mapping[str, Index]) -> str | None:
        """None when the cut network equals the silenced one; else what went wrong."""
        kept = {name: policy[name] for name in names}
        with self._silenced(kept):
            wanted = self._wanted(kept)
        try:
            got = call(self._selector.select({k: v.tolist() for k, v in kept.items()}), self._example)
        except Exception as error:  # noqa: BLE001 - the user's forward may raise anything on a cut network
            return f"its forward fails once cut: {raised(error)}"
        return self._difference(got, wanted)

    def _wanted(self, kept: Mapping[str, Index]) -> list[torch.Tensor]:
        """The dense network's outputs, its readers being silenced; norms over a width see what is kept of it."""
        if self._normalised.isdisjoint(kept):
            return call(self._dense, self._example)
        torch.manual_seed(SEED)
        return self._reference.run(self._example, kept)

    def _difference(self, got: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> str | None:
        if len(got) != len(wanted):
            return "the cut network returns another number of tensors"
        for one, other in zip(got, wanted, strict=True):
            if one.shape != other.shape:
                return f"the cut network returns {list(one.shape)} in place of {list(other.shape)}"
            if not _finite_alike(one, other):
                return "the cut network's output is not finite (one unit alone has no deviation)"
            if not _close(one, other, self._tolerance):
                return "the cut network differs from the one with those units silenced"
        return None

    @contextmanager
    def _silenced(self, kept: Mapping[str, Index]) -> Iterator[None]:
        """The dense network with the dropped units' readers at 0, put back afterwards."""
        touched = {name for name, _, _ in self._slicer.silenced(kept)}
        saved = {name: self._tensors[name].clone() for name in touched}
        for name, dim, positions in self._slicer.silenced(kept):
            self._tensors[name].index_fill_(dim, torch.from_numpy(positions).to(self._tensors[name].device), 0)
        try:
            yield
        finally:
            for name, tensor in saved.items():
                self._tensors[name].copy_(tensor)


def _finite_alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether the first is finite wherever the second is."""
    return bool((one.isfinite() | ~other.isfinite()).all())


def _close(one: torch.Tensor, other: torch.Tensor, tolerance: float) -> bool:
    if not (one.is_floating_point() or one.is_complex()):
        return torch.equal(one, other)
    finite = other.isfinite()
    if not torch.equal(one[~finite], other[~finite]):  # masked with -inf, both of them or none
        return False
    one, other = one[finite], other[finite]
    if not other.numel():
        return True
    scale = float(other.abs().max()) or 1.0
    return bool(((one - other).abs() <= tolerance * scale).all())
