"""A listener that keeps what a job says."""

from autoprune.pipeline.reporter import Talk


class Heard(Talk):
    def __init__(self):
        super().__init__()
        self.said = []

    def say(self, sentence):
        self.said.append(sentence)
