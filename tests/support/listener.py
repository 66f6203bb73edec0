"""A listener that keeps what a job says."""

from autoprune.pipeline.reporter import Reporter


class Heard(Reporter):
    def __init__(self):
        super().__init__()
        self.said = []

    def say(self, sentence):
        self.said.append(sentence)
