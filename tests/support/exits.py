"""What exits of a trained network may differ by: confidences that lie at their threshold."""

TIED = 2
"""Inputs that may leave elsewhere. A confidence at its threshold may be rounded to the other side of it in a batch of
another size, or in another runtime."""


def elsewhere(exits, others):
    """How many inputs leave at another exit."""
    return sum(one != other for one, other in zip(exits, others, strict=True))


def share_of(inputs):
    """What accuracies and shares of so many inputs may differ by."""
    return (TIED + 0.1) / inputs
