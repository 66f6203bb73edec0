"""The proof of every group: the user's own forward on a cut copy against the dense network with those units silent.

It runs on a copy in double precision with random weights and BatchNorm statistics, so that a unit that happens to
be dead in the user's weights, or a BatchNorm that maps 0 to 0, cannot hide a mistake.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import torch

from autoprune.foundations.progress import Progress, no_progress
from autoprune.graph.analysis import Analysis, Index
from autoprune.graph.coupling.norms import NormLine
from autoprune.graph.proof.draws import steady_draws
from autoprune.graph.proof.network_copy import SEED, Shadow
from autoprune.graph.proof.runs import Runs
from autoprune.graph.trace.export import Trace
from autoprune.graph.trace.quiet import quiet

__all__ = ["Proof"]

Rng = np.random.Generator

_TOGETHER = 4  # groups tried in one run where it is not known which of them show; a set that fails is halved
_TWO = 2  # the fewest units that have a deviation
_ALONE = 3  # tries of a group that did not show in the others
_UNIONS = 3  # tries of all groups at once


class Proof:
    """Tries the groups of one analysis.

    Args:
        shadow: A copy of the dense model; put back after every try.
        analysis: Its groups, not yet proven.
        traced: The trace that the analysis was read off.
        norms: Its operators that normalise over groups' units.
        progress: Called with (groups proven, all groups, at which widths).

    Attributes:
        reasons: Group name -> why it must not be used.
        least: Group name -> fewest units that it may keep: 2 where one alone fails and more are right.
    """

    def __init__(
        self,
        shadow: Shadow,
        analysis: Analysis,
        traced: Trace,
        norms: Sequence[NormLine],
        progress: Progress = no_progress,
    ) -> None:
        self.reasons: dict[str, str] = {}
        self.least = {group.name: group.least for group in analysis.groups}
        self._alone: list[str] = []  # those refused that fail without any other
        self._names = [group.name for group in analysis.groups]
        self._width = {group.name: group.width for group in analysis.groups}
        self._normalised = {group.name for group in analysis.groups if group.oracle == "normalised"}
        self._runs = Runs(shadow, analysis, traced, norms)
        self._shown: set[str] = set()
        self._traced = traced
        self._progress, self._settled, self._widths = progress, set[str](), ""

    def run(self) -> dict[str, str]:
        """Prove every group at its least and at a random width, then all together; name those that fail."""
        with quiet(), steady_draws(self._traced), torch.no_grad():
            self._trust_the_trace()
            normalised = [name for name in self._names if name in self._normalised]
            # down to one unit, a width that is normalised over passes nothing on: the others would not be seen
            self._begin("proven at one unit")
            for names in ([name for name in self._names if name not in self._normalised], normalised):
                self._prove_each(self._draw(names, "least", self._narrowest))
            self._allow_two()
            self._shown.clear()  # at one unit hardly anything can be mistaken
            self._begin("proven at random widths")
            done = self._prove_each(self._draw(self._left(), "random", self._random))
            for at in range(_UNIONS - done):
                self._search(self._left(), self._draw(self._left(), f"union {at}", self._random))
            self._prove_hidden()
        return self.reasons

    def run_at_another_size(self, full: Shadow, traced: Trace, norms: Sequence[NormLine]) -> bool:
        """Prove every group at this size, and all of them together at the size of another example.

        Returns:
            Whether nothing failed; else nothing is proven.
        """
        least = dict(self.least)
        if self.run() or self.least != least:
            return False
        self._runs.resize(full, traced, norms)
        with quiet(), steady_draws(traced), torch.no_grad():
            self._trust_the_trace()
            wide = self._draw(self._names, "wide", self._at_least_half)
            return not self.reasons and self._try(self._names, wide) is None

    def holds(self, reasons: Mapping[str, str], least: Mapping[str, int]) -> bool:
        """Whether an earlier proof's verdict holds: all groups that it allows, cut together at two widths.

        Args:
            reasons: Group name -> why it must not be used.
            least: Group name -> the fewest units that it may keep.
        """
        self.reasons, self.least = dict(reasons), {**self.least, **least}
        if not self.reasons.keys() | self.least.keys() <= self._width.keys():
            return False
        with quiet(), steady_draws(self._traced), torch.no_grad():
            distrusted = set(self._normalised) - self.reasons.keys() and self._runs.distrust()
            sizes = (("wide", self._at_least_half), ("again", self._random))
            return not distrusted and not any(self._try(self._left(), self._draw(self._left(), *s)) for s in sizes)

    def _begin(self, widths: str) -> None:
        self._settled, self._widths = set(), widths

    def _settle(self, names: Iterable[str]) -> None:
        """Report that these are proven, or refused, at the widths of this phase."""
        self._settled.update(names)
        self._progress(len(self._settled | self.reasons.keys()), len(self._width), self._widths)

    def _left(self) -> list[str]:
        return [name for name in self._names if name not in self.reasons]

    def _trust_the_trace(self) -> None:
        """Refuse the normalised widths where the reference does not give what the user's own forward gives."""
        why = self._runs.distrust() if self._normalised else ""
        if why:
            self.reasons.update(dict.fromkeys(self._normalised, why))
            self._names = [name for name in self._names if name not in self._normalised]

    def _draw(self, names: Sequence[str], purpose: str, size: Callable[[str, Rng], int]) -> dict[str, Index]:
        """Random units for each group, the same ones whichever others are drawn for."""
        drawn = {}
        for name in names:
            rng = np.random.default_rng([SEED, zlib.crc32(purpose.encode()), zlib.crc32(name.encode())])
            drawn[name] = np.sort(rng.permutation(self._width[name])[: size(name, rng)])
        return drawn

    def _narrowest(self, name: str, rng: Rng) -> int:
        return self.least[name]

    def _random(self, name: str, rng: Rng) -> int:
        return int(rng.integers(self.least[name], self._width[name]))

    def _at_least_half(self, name: str, rng: Rng) -> int:
        """Half of the units or more: with few everywhere, the output might depend on nothing."""
        half = max(self.least[name], (self._width[name] + 1) // 2)
        return int(rng.integers(half, max(half + 1, self._width[name])))

    def _allow_two(self) -> None:
        """Take back the refusal of groups that only fail at one unit: one alone has no deviation, two have.

        Two, three and all but one: what is right for even numbers only must not pass.
        """
        for name in [name for name in self._alone if self._width[name] > _TWO]:
            sizes = sorted({_TWO, _TWO + 1, self._width[name] - 1} - {self._width[name]})
            if all(self._try([name], self._draw([name], f"{size}", partial(_fixed, size))) is None for size in sizes):
                del self.reasons[name]
                self.least[name] = _TWO

    def _prove_each(self, policy: Mapping[str, Index]) -> bool:
        """Prove each group in a run in which it shows, or in one with a few others.

        Returns:
            Whether all of them were right in one run.
        """
        names = [name for name in policy if name not in self.reasons]
        left, whole = self._prove_together(names, policy)
        parts = math.ceil(len(left) / _TOGETHER)
        for start in range(parts):  # strided, as neighbours are the likeliest to hide each other
            self._search(left[start::parts], policy)
        return whole

    def _prove_hidden(self) -> None:
        """Try those that showed in no run so far (all of a unit's activations may be 0) alone, at several widths."""
        for name, at in itertools.product(self._left(), range(_ALONE)):
            if self._runs.sees and name not in self._shown and name not in self.reasons:
                self._search([name], self._draw([name], f"alone {at}", self._at_least_half))

    def _prove_together(self, names: list[str], policy: Mapping[str, Index]) -> tuple[list[str], bool]:
        """The groups that are still to be proven after runs of many at once, and whether the first run was right.

        A set that fails is halved; in one that does not, those are proven that show in the output.
        """
        if len(names) <= _TOGETHER or not self._runs.sees:
            return names, False
        seen = self._runs.seen({name: policy[name] for name in names})
        if seen is None:
            return [name for half in (names[::2], names[1::2]) for name in self._prove_together(half, policy)[0]], False
        self._shown |= seen
        self._settle(seen)
        rest = [name for name in names if name not in seen]
        return (self._prove_together(rest, policy)[0] if seen else rest), True

    def _search(self, names: Sequence[str], policy: Mapping[str, Index]) -> None:
        """Find what fails among ``names``: single groups by halving; if only the union fails, who completes it."""
        if not names or self._passes(names, policy):
            self._settle(names)
            return
        if len(names) == 1:
            self.reasons[names[0]] = str(self._try(names, policy))
            self._settle(names)
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

    def _passes(self, names: Sequence[str], policy: Mapping[str, Index]) -> bool:
        """Whether the run is right; notes who shows in it, as long as that is not known of all of them."""
        if not self._runs.sees or self._shown.issuperset(names):
            return self._try(names, policy) is None
        seen = self._runs.seen({name: policy[name] for name in names})
        self._shown |= seen or set()
        return seen is not None

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
        return self._runs.wrong({name: policy[name] for name in names})


def _fixed(size: int, name: str, rng: Rng) -> int:
    return size
