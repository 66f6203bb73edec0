"""A profile that was cut off, at whatever moment, goes on with what it measured and ends as one that was not."""

import math
from dataclasses import replace

import pytest

from autoprune.errors import TargetError
from autoprune.hardware import LatencyTable, profile
from autoprune.models import resnet20
from autoprune.space import Decision, SearchSpace
from tests.support.targets.formula_case import Case, X
from tests.support.targets.formula_target import MadeUpTarget, WholeNetworksOnly


@pytest.fixture(scope="module")
def case() -> Case:
    return Case(resnet20())


class Compiles(WholeNetworksOnly):
    """Every network takes long; the device is gone after a few."""

    name = "compiles"
    compiles_long = True
    most: float = math.inf

    def time(self, payloads, protocol, progress=None):
        results = super().time(payloads, protocol, progress)
        if self.timed_networks > self.most:
            raise TargetError("target 'compiles': the cable was pulled")
        return results


def test_networks_that_take_long_are_kept_one_pair_after_the_other(tmp_path) -> None:
    case = Case(resnet20(width=0.5), Compiles())
    whole = case.profile()
    case.target = Compiles()
    case.target.most = 9
    path = tmp_path / "unfinished.json"
    with pytest.raises(TargetError, match="cable"):
        case.profile(checkpoint=lambda table: table.save(path))
    part = LatencyTable.load(path)
    assert len(part.runs) == 8 and not part.complete
    case.target = Compiles()
    again = case.profile(known=part)
    assert case.target.timed_networks == 18 - 8 and again.complete
    assert [run.choices for run in again.runs] == [run.choices for run in whole.runs]
    assert again.predict({}) == pytest.approx(whole.predict({}))


def test_networks_of_which_the_error_is_told_are_none_of_those_that_were_fitted() -> None:
    case = Case(resnet20(width=0.5))
    first, second, *others = case.space.decisions
    small = [Decision(d.name, d.width, tuple(range(d.width - 5, d.width + 1))) for d in (first, second)]
    still = [Decision(d.name, d.width, (d.width,)) for d in others]
    case.space = SearchSpace((*small, *still), model=case.space.model)  # 36 policies
    for seed in range(3):
        table = case.profile(seed=seed)
        fitted = [run.choices for run in table.runs_of("fit")]
        told = [run.choices for run in table.runs_of("held-out")]
        assert len(told) == 6 and all(choices not in fitted for choices in told)
        assert all(choices not in told[:place] for place, choices in enumerate(told))


class Shaky(MadeUpTarget):
    """Its timings of layers do not settle while it is shaken."""

    shaken = True

    def time(self, payloads, protocol, progress=None):
        results = super().time(payloads, protocol, progress)
        layers = [b'"layer"' in payload for payload in payloads]
        return [replace(r, stable=not (self.shaken and layer)) for r, layer in zip(results, layers, strict=True)]


def test_layers_that_were_unstable_when_a_profile_was_cut_off_are_measured_again(case, tmp_path) -> None:
    shaky, path = Shaky(), tmp_path / "part.json"
    shaky.breaks_after = 250
    with pytest.raises(TargetError):
        profile(case.model, case.analysis, case.space, X, shaky, checkpoint=lambda table: table.save(path))
    part = LatencyTable.load(path)
    assert part.entries and not any(entry.stable for entry in part.entries.values())
    calm = Shaky()
    calm.shaken = False
    table = profile(case.model, case.analysis, case.space, X, calm, known=part)
    assert set(part.entries) <= set(calm.timed_layers) and all(entry.stable for entry in table.entries.values())


def test_a_table_is_finished_when_every_network_has_been_timed_however_often_it_was_cut_off(tmp_path) -> None:
    """Cut off among the networks, then among layers that are measured again: that is no finished table either."""
    case, path = Case(resnet20(width=0.5), Shaky()), tmp_path / "part.json"
    whole = case.profile(checkpoint=lambda table: table.save(path))
    part = LatencyTable.load(path)
    part.runs = part.runs[:3]
    part.save(path)
    case.target = Shaky()
    case.target.breaks_after = 100
    with pytest.raises(TargetError):
        case.profile(known=LatencyTable.load(path), checkpoint=lambda table: table.save(path))
    again = LatencyTable.load(path)
    assert len(again.runs) == 12 and not again.complete  # those of the fit are timed before the layers
    case.target = Shaky()
    assert [run.choices for run in case.profile(known=again).runs] == [run.choices for run in whole.runs]
