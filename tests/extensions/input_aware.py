"""A criterion in one file: |w| times the norm of what it is multiplied with (Wanda; Sun et al., ICLR 2024)."""

from autoprune.criteria.base import Criterion


class InputAware(Criterion):
    name = "input_aware"
    needs = frozenset({"inputs"})

    def saliency(self, weight, known):
        return weight.abs() if known.input_norm is None else weight.abs() * known.input_norm
