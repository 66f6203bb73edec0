"""Decisions as users want them: so much of them stays at least, and some of them make one choice together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import gcd

from autoprune.errors import InputError
from autoprune.space import Decision

__all__ = ["capped", "tie_up"]

Touches = Callable[[str, str], bool]
"""Whether the decision of a name is meant by a pattern."""


def capped(decisions: Sequence[Decision], caps: Sequence[tuple[str, float]], touches: Touches) -> list[Decision]:
    """The decisions without those options that remove more than their caps allow; the strictest cap holds.

    Raises:
        InputError: If a pattern means no decision.
    """
    for pattern, _ in caps:
        if not any(touches(d.name, pattern) for d in decisions):
            raise InputError(f"--cap {pattern}: no decision on a width has such a name; see autoprune inspect")
    found = []
    for decision in decisions:
        share = min((share for pattern, share in caps if touches(decision.name, pattern)), default=1.0)
        least = (1 - share) * decision.width - 1e-9
        found.append(replace(decision, options=tuple(o for o in decision.options if o >= least)))
    return found


def tie_up(
    decisions: Sequence[Decision], patterns: Sequence[str], touches: Touches
) -> tuple[list[Decision], dict[str, dict[str, int]]]:
    """One decision in place of all of one kind that a pattern means: they keep a common share of their units.

    The common decision has the name and the place of the first. It counts steps: as many as divide every member's
    width, so that a step is a whole number of units of each. Its options are the steps that every member allows.

    Returns:
        The decisions in forward order, and the ties: name -> {member: its units for one step}.

    Raises:
        InputError: If a pattern means fewer than two decisions of a kind, two patterns mean the same one, or the
            members have no common choice.
    """
    ties: dict[str, dict[str, int]] = {}
    common: dict[str, Decision] = {}
    taken: dict[str, str] = {}
    for pattern in patterns:
        kinds: dict[str, list[Decision]] = defaultdict(list)
        for decision in decisions:
            if touches(decision.name, pattern):
                kinds[decision.kind].append(decision)
        several = [members for members in kinds.values() if len(members) > 1]
        if not several:
            found = ", ".join(d.name for members in kinds.values() for d in members) or "nothing"
            raise InputError(
                f"--tie {pattern} means {found}; a tie needs two decisions of a kind, see autoprune inspect"
            )
        for members in several:
            for member in members:
                if member.name in taken:
                    raise InputError(f"{member.name} is tied by {taken[member.name]!r} and by {pattern!r}")
                taken[member.name] = pattern
            decision, steps = _common(members, pattern)
            common[decision.name], ties[decision.name] = decision, steps
    left = [common.get(d.name, d) for d in decisions if d.name in common or d.name not in taken]
    return left, ties


def _common(members: Sequence[Decision], pattern: str) -> tuple[Decision, dict[str, int]]:
    width = gcd(*(member.width for member in members))
    steps = {member.name: member.width // width for member in members}
    options = [s for s in range(1, width + 1) if all(s * steps[m.name] in m.options for m in members)]
    if len(options) < 2 and any(len(member.options) > 1 for member in members):
        widths = ", ".join(str(member.width) for member in members[:6])
        raise InputError(
            f"--tie {pattern}: decisions of {widths} units have no common share below 1; lower --granularity,"
            " or tie fewer of them"
        )
    # It matters while one of its members does.
    places = () if not all(m.within for m in members) else tuple(p for m in members for p in m.within)
    within = tuple(dict.fromkeys(places))
    return replace(members[0], width=width, options=tuple(options), within=within), steps
