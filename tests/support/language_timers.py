"""Targets of language models that take what a formula says: their latencies repeat exactly."""

from autoprune.llm.search.timers import LanguageTimer


class Formula(LanguageTimer):
    """A constant, so much for each block, and so much for each parameter; as many calls as models are counted."""

    name = "formula"
    asked = 0

    def times(self, models, phase):
        type(self).asked += len(models)
        return [self.ms(model.network) * (10 if phase == "prefill" else 1) for model in models]

    def ms(self, network):
        return 1 + 0.5 * network.config.num_hidden_layers + 2e-5 * sum(p.numel() for p in network.parameters())


class Saturating(Formula):
    """The same, but what lies between the shapes that are measured takes longer than any sum says."""

    name = "saturating"

    def ms(self, network):
        ffn = network.config.intermediate_size
        return super().ms(network) * (1.0 if ffn in (24, 64, 96) else 1.15)


class Constant(Formula):
    """Nothing helps, though the shapes that were measured first seemed to."""

    name = "constant"

    def ms(self, network):
        return super().ms(network) if type(self).asked <= 20 else 5.0
