"""What every kind of decisions must be; see `autoprune.space.kinds.DecisionKind`."""

from __future__ import annotations

from autoprune.space import KINDS, Decision, DecisionKind, SearchSpace

__all__ = ["check_kind"]


def check_kind(kind: DecisionKind) -> None:
    """A kind allows decisions, is known by its name, and its uniform policy is among the options.

    Raises:
        AssertionError: If not; the message names the fault.
    """
    assert kind.name.isidentifier(), f"{kind.name!r} cannot be named in --kinds; use letters, digits and _"
    assert kind.noun, f"the kind {kind.name!r} has no noun for people"
    assert kind.least >= 0, f"the kind {kind.name!r} allows {kind.least} units"
    assert not kind.gates or kind.least == 0, f"the kind {kind.name!r} gates what lies within, but never keeps 0"
    assert KINDS.get(kind.name) == kind, f"the kind {kind.name!r} is registered with other traits"
    width = kind.width or max(4, kind.least)
    decision = Decision("a", width, tuple(range(kind.least, width + 1)), kind.name)
    assert decision.at(1.0) == width, f"a uniform policy that keeps all does not keep all of a {kind.noun}"
    space = SearchSpace((decision,))
    policy = space.policy(space.dense)
    assert space.complete(policy.choices) == space.dense, f"a policy loses its decisions of the kind {kind.name!r}"
    assert [part.technique for part in policy.parts if part.choices] == [kind.technique]
