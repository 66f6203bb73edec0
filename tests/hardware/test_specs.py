"""What users write for a target, and what comes of it: options are kept, round trip, and are refused where unknown."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoprune.errors import InputError
from autoprune.hardware import TARGETS, get_target
from autoprune.hardware.contract.target_spec import MEMORY_FORMATS, PRECISIONS, TargetSpec
from autoprune.pipeline.device import target_of
from autoprune.pipeline.task import load_task
from autoprune.run.experiment import Experiment


@given(
    st.sampled_from([*TARGETS, "pkg.module:Class"]),
    st.none() | st.integers(1, 1024),
    st.none() | st.sampled_from(PRECISIONS),
    st.none() | st.sampled_from(MEMORY_FORMATS),
)
def test_a_spec_is_read_as_it_is_written(base, threads, precision, memory_format) -> None:
    spec = TargetSpec(base, threads, precision, memory_format)
    assert TargetSpec.parse(str(spec)) == spec


@pytest.mark.parametrize("name", TARGETS)
def test_every_option_of_every_target_stays_with_it(name) -> None:
    kind = TARGETS.get(name)
    for precision in kind.precisions:
        for memory_format in kind.memory_formats:
            target = get_target(name, threads=2, precision=precision, memory_format=memory_format)
            again = get_target(target.spec)
            assert (again.name, again.threads, again.precision, again.memory_format) == (
                name,
                2,
                precision,
                memory_format,
            )
            assert type(again) is kind and again.spec == target.spec
            assert kind(**target.settings()).spec == target.spec  # what the worker makes of it
    assert get_target(name).spec == name  # the default goes without saying
    assert get_target(f"{name}@{kind.precisions[0]}").spec == name


def test_options_in_the_name_and_beside_it_agree() -> None:
    assert get_target("openvino@bf16", precision="bf16").precision == "bf16"
    assert get_target("openvino@threads=3", threads=3).threads == 3
    with pytest.raises(InputError, match="bf16 and for f32 at once"):
        get_target("openvino@bf16", precision="f32")
    with pytest.raises(InputError, match="3 and for 2 at once"):
        get_target("openvino@threads=3", threads=2)
    with pytest.raises(InputError, match="at once"):
        get_target("torch@channels_last+contiguous")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("openvino@bf17", "did you mean 'bf16'"),
        ("openvino@", "option ''"),
        ("openvino@threads=0", "did you mean 'threads=N'"),
        ("openvino@threads=two", "did you mean 'threads=N'"),
        ("onnxruntime@bf16", "no precision 'bf16'; it knows f32"),
        ("onnxruntime@channels_last", "no memory format 'channels_last'; it knows contiguous"),
        ("openvin@bf16", "did you mean 'openvino'"),
        ("tests.support.targets.worker_targets:SleepTarget@f16", "'sleep' has no precision 'f16'; it knows f32"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(spec, said) -> None:
    with pytest.raises(InputError, match=said) as caught:
        get_target(spec)
    assert "\n" not in str(caught.value)


def test_a_user_s_class_may_take_the_threads_only() -> None:
    target = get_target("tests.support.targets.formula_target:MadeUpTarget@threads=2+f32", memory_format="contiguous")
    assert target.threads == 2 and target.spec == "tests.support.targets.formula_target:MadeUpTarget@threads=2"
    assert get_target(target.spec).fingerprint() == target.fingerprint()


def test_the_fingerprint_tells_options_apart() -> None:
    specs = ["openvino", "openvino@bf16", "openvino@channels_last", "openvino@threads=2"]
    prints = [get_target(spec).fingerprint() for spec in specs]
    assert len({tuple(sorted(p.items())) for p in prints}) == len(specs)


def test_the_batch_that_is_timed_is_the_example_as_often() -> None:
    task = load_task(Experiment.build({"model": "plain20", "target_batch": 3}))
    assert task.timed_example.shape == (3, *task.example.shape[1:]) and task.example.shape[0] == 1
    assert all(torch.equal(image, task.example[0]) for image in task.timed_example)


def test_an_experiment_names_its_target_with_its_options() -> None:
    settings = {"target": "openvino@channels_last", "precision": "bf16", "threads": 2}
    assert target_of(Experiment.build(settings)).spec == "openvino@bf16+channels_last+threads=2"
    with pytest.raises(InputError, match="precision"):
        Experiment.build({"precision": "f8"})
