"""What a Python program or a file hands over in a wrong form: one clear line, before anything is done."""

import typing

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import InputError
from autoprune.export.formats import export_onnx, export_pt2
from autoprune.foundations.files import read_yaml
from autoprune.hardware import get_target
from autoprune.run.experiment import Experiment
from tests.pipeline.test_whose_fault import compress, net

X = torch.randn(1, 1, 8, 8)


def on_meta():
    with torch.device("meta"):
        return net()


@pytest.mark.parametrize(
    "call",
    [
        lambda example: compress(example_input=example),
        lambda example: autoprune.search_space(net(), example),
        lambda example: autoprune.measure(net(), example, "torch"),
        lambda example: autoprune.flops(net(), example),
    ],
)
@pytest.mark.parametrize(
    ("example", "said"),
    [(X[:0], "holds no image"), (X.numpy(), "not a tensor"), (X.to("meta"), "meta device"), ("image", "give a tensor")],
)
def test_an_example_is_a_tensor_with_something_in_it(call, example, said):
    with pytest.raises(InputError, match=said):
        call(example)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: autoprune.search_space(model, X),
        lambda model: autoprune.measure(model, X, "torch"),
        lambda model: autoprune.compress(
            model, train=[(X, X)] * 2, search=[(X, X)], test=[(X, X)], loss=len, evaluate=len
        ),
    ],
)
def test_a_network_on_the_meta_device_is_refused(call):
    with pytest.raises(InputError, match=r"parameter '0.weight' is on the meta device"):
        call(on_meta())


@pytest.mark.parametrize(("given", "said"), [({"budget": 0.5}, "latency<=50%"), ({"run": ""}, "run: .*name a folder")])
def test_a_budget_is_a_text_and_a_run_has_a_name(given, said):
    with pytest.raises(InputError, match=said):
        compress(**given)


def test_one_text_is_one_pattern_wherever_patterns_are_given():
    everything = [decision.name for decision in autoprune.search_space(net(), X).decisions]
    assert len(everything) > 1
    for name in ("0", "2"):
        kept = [decision.name for decision in autoprune.search_space(net(), X, skip=name).decisions]
        listed = [decision.name for decision in autoprune.search_space(net(), X, skip=[name]).decisions]
        assert kept == listed != everything
    assert len(autoprune.search_space(net(), X, kinds="channels").decisions) == len(everything)
    capped = autoprune.search_space(net(), X, cap="*=0.5")
    assert capped.decisions == autoprune.search_space(net(), X, cap=["*=0.5"]).decisions


def _numeric_fields():
    for name, field in Experiment.model_fields.items():
        kinds = typing.get_args(field.annotation) or (field.annotation,)
        if name != "granularity" and {int, float} & set(kinds) and bool not in kinds:
            yield name, field


@pytest.mark.parametrize(("name", "field"), list(_numeric_fields()))
def test_every_number_has_its_limits(name, field):
    for beyond in (-1, 2**64, 10**400, float("inf"), float("nan")):
        with pytest.raises(InputError, match=name):
            Experiment.build({name: beyond})
    assert any(hasattr(limit, "le") or hasattr(limit, "lt") for limit in field.metadata)
    assert any(hasattr(limit, "ge") or hasattr(limit, "gt") for limit in field.metadata)


@pytest.mark.parametrize("granularity", [0, -8, 2**64, str(2**64), f"channels={2**64}"])
def test_a_granularity_has_its_limits(granularity):
    with pytest.raises(InputError, match="granularity"):
        Experiment.build({"granularity": granularity})


class Under(nn.Module):
    """A network whose layers lie under a name of the user's choice, at the top and below."""

    def __init__(self, name):
        super().__init__()
        torch.manual_seed(0)
        inner = nn.Module()
        inner.add_module(name, nn.Conv2d(8, 8, 3, padding=1))
        self.inner, self.name = inner, name
        self.add_module(name, nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.inner._modules[self.name](self._modules[self.name](x)).mean((2, 3)))


@pytest.mark.parametrize("name", ["meta", "graph", "code", "class", "lambda", "print_readable", "module", "recompile"])
def test_submodules_may_have_any_name(name, tmp_path):
    model = Under(name).eval()
    with torch.no_grad():
        expected = model(X)
    target = get_target("torch")
    assert torch.allclose(torch.from_numpy(target.compute(target.pack(model, X), X.numpy())), expected, atol=1e-5)
    export_pt2(model, X, tmp_path / "small.pt2")
    loaded = torch.export.load(tmp_path / "small.pt2").module()
    assert torch.allclose(loaded(X.expand(3, -1, -1, -1)), expected.expand(3, -1), atol=1e-5)
    pytest.importorskip("onnxruntime")
    export_onnx(model, X, tmp_path / "small.onnx")  # compares the outputs itself


def test_a_network_under_module_is_read_back(tmp_path):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = net()

        def forward(self, x):
            return self.module(x)

    got = compress(Wrapped(), run=tmp_path / "run")
    assert torch.equal(autoprune.load(tmp_path / "run", model=Wrapped())(X), got.model(X))


@pytest.mark.parametrize("key", ["<<", "!!merge a"])
def test_merge_keys_are_refused_before_they_are_copied_into_each_other(tmp_path, key):
    lines = ["a0: &a0 {model: resnet20}"]
    lines += [f"a{i}: &a{i} {{? {key} : [{', '.join([f'*a{i - 1}'] * 8)}]}}" for i in range(1, 9)]
    (tmp_path / "experiment.yaml").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"a merge key \(<<\) in line 2"):
        read_yaml(tmp_path / "experiment.yaml", "experiment file")


def test_two_arrows_in_quotes_are_a_text(tmp_path):
    (tmp_path / "experiment.yaml").write_text('run: "<<"\n')
    assert read_yaml(tmp_path / "experiment.yaml", "experiment file") == {"run": "<<"}


def test_a_pattern_in_yaml_needs_no_quotes(tmp_path):
    """YAML 1.1 reads 2:4 as 124, a number of base 60."""
    (tmp_path / "experiment.yaml").write_text("pattern: 2:4\nsearch: {a: [1:8, '2:4', 12:30.5]}\nn: [12, 0.5]\n")
    content = {"pattern": "2:4", "search": {"a": ["1:8", "2:4", "12:30.5"]}, "n": [12, 0.5]}
    assert read_yaml(tmp_path / "experiment.yaml", "experiment file") == content
