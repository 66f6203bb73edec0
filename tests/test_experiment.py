"""The settings: flat for users, in blocks for the code."""

import pytest

from autoprune.errors import InputError
from autoprune.pipeline.device import target_of
from autoprune.run.experiment import Experiment
from autoprune.run.settings import BLOCKS, BudgetSettings, SearchSettings, TargetSettings


def test_an_experiment_has_the_fields_of_its_blocks_in_their_order():
    assert list(Experiment.model_fields) == [name for block in BLOCKS for name in block.model_fields]
    assert all(isinstance(Experiment(), block) for block in BLOCKS)


def test_a_function_can_take_one_block_alone():
    alone = TargetSettings(target="torch", threads=2, memory_format="channels_last")
    whole = Experiment(target="torch", threads=2, memory_format="channels_last", flops="50%")
    assert target_of(alone).spec == target_of(whole).spec == "torch@channels_last+threads=2"


def test_every_block_checks_itself():
    with pytest.raises(ValueError, match="not with latency and flops"):
        BudgetSettings(latency="50%", flops="50%", accuracy_drop=1.0)
    with pytest.raises(ValueError, match=r"warmup \(5\) must not exceed episodes \(4\)"):
        SearchSettings(episodes=4, warmup=5)
    with pytest.raises(InputError, match=r"threads: .*, not 0; there is no setting 'sed'; did you mean 'seed'"):
        Experiment.build({"threads": 0, "sed": 1})
