"""The conformance kits pass our own parts and the examples, and name what a broken one breaks."""

import copy

import pytest
import torch

from autoprune.cost.macs import macs_cost
from autoprune.criteria.registry import CRITERIA, criterion_of
from autoprune.errors import InputError
from autoprune.graph import analyse
from autoprune.reconstruction.base import Reconstruction
from autoprune.space import KINDS, SpaceConstraints
from autoprune.techniques.registry import TECHNIQUES, technique_of, techniques_of
from autoprune.techniques.space import space_of
from autoprune.techniques.stack import Stack
from autoprune.testing.criterion import check_criterion
from autoprune.testing.kind import check_kind
from autoprune.testing.reconstruction import check_reconstruction
from autoprune.testing.technique import check_technique


@pytest.mark.parametrize("name", list(TECHNIQUES))
def test_our_own_techniques_conform(name, net, example, batches):
    technique = technique_of(name)
    kinds = SpaceConstraints(kinds=[kind.name for kind in technique.kinds if kind.name != "block"])
    check_technique(technique, net, example, batches, limits=kinds)


def test_blocks_conform(net, example, batches):
    check_technique(technique_of("structured"), net, example, batches, limits=SpaceConstraints(kinds=list(KINDS)))


@pytest.mark.parametrize("name", list(CRITERIA))
def test_our_own_criteria_conform(name, net, example, batches):
    check_criterion(criterion_of(name), net, example, batches)


@pytest.mark.parametrize("name", list(KINDS))
def test_our_own_kinds_conform(name):
    check_kind(KINDS.get(name))


@pytest.mark.parametrize("levels", [2, 10])
def test_the_example_technique_conforms(net, example, batches, levels):
    from magnitude_masks import Magnitude, Settings

    check_technique(Magnitude(Settings(levels=levels)), net, example, batches)
    assert "magnitude" not in TECHNIQUES and "density" not in KINDS  # the kit leaves nothing behind


def test_the_example_criterion_conforms(net, example, batches):
    from input_aware import InputAware

    check_criterion(InputAware(), net, example, batches)


def test_the_example_reconstruction_conforms():
    from least_squares import LeastSquares

    check_reconstruction(LeastSquares())


def test_zeroing_alone_conforms_and_anything_worse_does_not():
    class Zeroing(Reconstruction):
        name = "zeroing"

        def solve(self, weight, gram, keep):
            return weight * keep

    class Doubling(Zeroing):
        name = "doubling"

        def solve(self, weight, gram, keep):
            return weight if keep.all() else 3 * weight * keep

    check_reconstruction(Zeroing())
    with pytest.raises(AssertionError, match="larger error"):
        check_reconstruction(Doubling())


def test_faults_of_a_technique_are_named(net, example):
    from magnitude_masks import Magnitude

    class InPlace(Magnitude):
        def apply(self, model, analysis, part):
            for name, weight in super().apply(model, analysis, part).named_parameters():
                model.get_parameter(name).data.copy_(weight)
            return model

    class Forgetful(Magnitude):
        def apply(self, model, analysis, part):
            small = copy.deepcopy(model)
            with torch.no_grad():
                small.fc.bias += 1
            return small

    class Unheld(Magnitude):
        def constraint(self, model, part):
            made = super().constraint(model, part)

            class WeightsOnly:
                def project(self, model, optimizer):
                    made.project(model, torch.optim.SGD(model.parameters(), lr=0.1))

            return WeightsOnly()

    for broken, says in ((InPlace, "was changed|apply changed"), (Forgetful, "keeps everything"), (Unheld, "momentum")):
        with pytest.raises(AssertionError, match=says):
            check_technique(broken(), copy.deepcopy(net), example)


def test_faults_of_a_criterion_are_named(net, example):
    from input_aware import InputAware

    class Negative(InputAware):
        needs = frozenset()

        def saliency(self, weight, known):
            return weight

    class Greedy(InputAware):
        needs = frozenset({"everything"})

    for broken, says in ((Negative, "negative"), (Greedy, "everything")):
        with pytest.raises(AssertionError, match=says):
            check_criterion(broken(), net, example)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["structred"], "did you mean 'structured'"),
        (["magnitude_masks:Magnitude", "magnitude"], "named twice"),
        (["magnitude_masks:Magnitude@level=4"], "level: Extra inputs are not permitted"),
        (["magnitude_masks:Magnitude@levels"], "its settings are levels"),
        (["structured@levels=4"], "its settings are none"),
        (["torch:zeros"], "no subclass of autoprune.techniques.base.Technique"),
        ([], "needs a technique; known: structured"),
    ],
)
def test_techniques_that_cannot_be_are_one_line(names, says):
    try:
        with pytest.raises(InputError, match=says) as error:
            techniques_of(names)
    finally:
        TECHNIQUES.unregister("magnitude")
        KINDS.unregister("density")
    assert "\n" not in str(error.value)


def test_techniques_are_in_the_order_of_their_stages():
    try:
        assert [t.name for t in techniques_of(["magnitude_masks:Magnitude", "structured"])] == [
            "structured",
            "magnitude",
        ]
        assert techniques_of(["magnitude@levels=5"])[0].settings.levels == 5  # known by its own name from then on
    finally:
        TECHNIQUES.unregister("magnitude")
        KINDS.unregister("density")


def test_what_a_mask_skips_is_priced(net, example):
    from magnitude_masks import DENSITY, Magnitude

    KINDS.register("density", DENSITY)
    try:
        techniques = (technique_of("structured"), Magnitude())
        analysis = analyse(net, example)
        space = space_of(analysis, techniques=techniques)
        cost = macs_cost(analysis, space, Stack(techniques, analysis, space).effects)
        assert cost.dense == analysis.macs({})
        choices, widths = {"conv1": 2, "fc.weight": 5}, {"conv1": 2}
        others = sum(op.macs(widths) for op in analysis.ops if op.name != "fc")
        assert cost.cost(choices) == others + next(op.macs(widths) for op in analysis.ops if op.name == "fc") / 2
    finally:
        KINDS.unregister("density")
