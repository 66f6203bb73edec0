"""What a search delivers is proven: a candidate whose proof fails is passed over."""

import pytest
import torch

from autoprune.agents import EpisodeRecord
from autoprune.envs import ScoreMemory
from autoprune.errors import BudgetError, InputError
from autoprune.llm.search.budget import LanguageBudget
from autoprune.llm.search.choosing import choose
from autoprune.llm.search.decisions import read_levers
from autoprune.llm.search.levers import Levers
from autoprune.llm.search.pricing import Counted
from autoprune.llm.structured.base import Calibration
from autoprune.pipeline.reporter import Silent
from tests.support.language_models import language_model

LOSSES = {24: 2.0, 48: 1.0}  # of networks with so many neurons


class Journal:
    """`RunDir.once` without a folder."""

    def once(self, key, compute):
        return compute()


@pytest.fixture(scope="module")
def levers():
    windows = torch.randint(0, 250, (2, 16), generator=torch.Generator().manual_seed(0))
    return read_levers(language_model().network, Calibration(windows), lambda key, compute: compute(), ("ffn",))


def record(number, ffn):
    return EpisodeRecord(
        episode=number, agent="random", choices={"ffn": ffn}, score=LOSSES[ffn], predicted_cost=0.0,
        reward=-LOSSES[ffn], seconds=0.0, cached=False, warmup=False,
    )  # fmt: skip


def chosen(levers):
    pricing = Counted(LanguageBudget.of({"params": "90%"}), levers, {"params": 0})
    scores = ScoreMemory(lambda choices: LOSSES.get(choices["ffn"], 9.0))
    return choose([record(0, 24), record(1, 48)], pricing, scores, levers, Journal(), Silent())


def test_the_best_that_is_proven_is_delivered(levers, monkeypatch):
    assert levers.space.names == ("ffn",) and levers.space.frozen["blocks"] == "it is not among --decisions"
    assert chosen(levers).choices == {"ffn": 48}
    plain = Levers.cut

    def failing(self, choices):
        if choices["ffn"] == 48:
            raise InputError("the cut network is off by 0.1 of its largest logit from the one it should equal")
        return plain(self, choices)

    monkeypatch.setattr(Levers, "cut", failing)
    found = chosen(levers)
    assert found.choices == {"ffn": 24} and found.loss == 2.0
    assert found.network.config.intermediate_size == 24


def test_where_no_proof_holds_nothing_is_delivered(levers, monkeypatch):
    def failing(self, choices):
        raise InputError("it differs")

    monkeypatch.setattr(Levers, "cut", failing)
    with pytest.raises(BudgetError, match="every network within the budget predicts nothing"):
        chosen(levers)
