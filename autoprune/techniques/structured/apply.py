"""A policy's widths and branches made of a network: which units stay, and whether they are this network's at all."""

from __future__ import annotations

from torch import nn

from autoprune.criteria.ranking import ranking
from autoprune.errors import PolicyMismatchError
from autoprune.graph import Analysis, first_difference
from autoprune.space import STRUCTURED, Policy, TechniquePart
from autoprune.space.kinds import CHANNELS, kind_of

__all__ = ["check_fit", "check_part", "with_kept"]


def with_kept(model: nn.Module, analysis: Analysis, policy: Policy, criterion: str = "l1") -> Policy:
    """The same policy with the indices of the kept units filled in, by a criterion on the dense weights."""
    if policy.kept is not None:
        return policy
    if not policy.units:  # nothing to rank, and the criterion may want data that nobody has here
        return policy.model_copy(update={"kept": {}})
    kept = ranking(model, analysis, criterion).kept(policy.units)
    return policy.model_copy(update={"kept": kept, "criterion": criterion})


def check_fit(analysis: Analysis, policy: Policy) -> None:
    """Refuse a policy that was made for another model.

    Raises:
        PolicyMismatchError: Naming the first layer, or else the first decision, that differs.
    """
    fingerprint = policy.model.get("fingerprint")
    if isinstance(fingerprint, dict):
        difference = first_difference(fingerprint, analysis.fingerprint)
        if difference is not None:
            raise PolicyMismatchError(f"the policy was made for another model: {difference}")
    check_part(analysis, next(part for part in policy.parts if part.technique == STRUCTURED))


def check_part(analysis: Analysis, part: TechniquePart) -> None:
    """Refuse widths and branches that another model has.

    Raises:
        PolicyMismatchError: Naming the first decision that differs.
    """
    widths = analysis.widths()
    blocks = {block.name for block in analysis.blocks}
    for name, units in part.choices.items():
        if name not in widths:
            raise PolicyMismatchError(f"the policy decides on {name!r}, which this model does not have or cannot prune")
        if (name in blocks) != kind_of(part.kinds.get(name, CHANNELS)).gates:
            raise PolicyMismatchError(
                f"the policy takes {name!r} for something else than this model has under that name"
            )
        if units > widths[name]:
            raise PolicyMismatchError(f"the policy keeps {units} units of {name!r}, which has {widths[name]}")
    for name, indices in (part.kept or {}).items():
        if indices and indices[-1] >= widths[name]:
            raise PolicyMismatchError(f"the policy keeps unit {indices[-1]} of {name!r}, which has {widths[name]}")
