"""Several networks fine-tuned at the same time: the weights of one after the other, whatever dies."""

import importlib.util
import json

import pytest
import torch
from torch.utils.data import DataLoader

import autoprune
from autoprune.errors import Stopped
from autoprune.models import read_weights, save_weights
from autoprune.pipeline.finish.side_by_side.actors import Cluster
from autoprune.pipeline.finish.side_by_side.base import Elsewhere, Heard, Training
from autoprune.pipeline.finish.side_by_side.processes import Processes
from tests.pipeline.conftest import quarters
from tests.support.trainings import Deadly, Norms, epochs_of, trainer

TARGET = "tests.support.tiny_job:Formula"


def of(folder, number, made):
    folder.mkdir(exist_ok=True)
    return Training(made, f"training {number}", folder / f"{number}.safetensors", folder / f"{number}.pt")


def heard(seen=None, waited=lambda: None):
    seen = [] if seen is None else seen
    return Heard(seen.append, seen.append, seen.append, waited)


def alone(number, **settings):
    made = trainer(number, **settings)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return made.run().state_dict()
    finally:
        torch.set_num_threads(before)


def same(folder, number, state):
    found = read_weights(folder / f"{number}.safetensors")
    return found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


def test_processes_leave_the_weights_of_this_one_though_one_of_them_is_killed(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    teacher = Norms()
    made = [
        trainer(0, teacher=teacher),
        trainer(1, Deadly(epochs_of(1), 2, marks), teacher=teacher),
        trainer(2, teacher=teacher, epochs=1),
    ]
    seen, folder = [], tmp_path / "run"
    trainings = [of(folder, number, each) for number, each in enumerate(made)]
    torch.save(made[1].state_dict(), trainings[1].checkpoint)  # of a training that had just begun
    Processes(tmp_path / "trainings.pt", 1, 1).train(trainings, heard(seen))
    assert [path.name for path in marks.iterdir()] == ["0"]
    for number, settings in ((0, {}), (1, {}), (2, {"epochs": 1})):
        assert same(folder, number, alone(number, teacher=teacher, **settings))
    ended = [each["epoch"] for each in seen if isinstance(each, dict)]
    assert sorted(ended)[-2:] == [3, 3] and len(ended) >= 7
    assert sorted(path.name for path in folder.iterdir()) == [f"{n}.safetensors" for n in range(3)]
    assert not (tmp_path / "trainings.pt").exists()


@pytest.mark.slow
def test_processes_that_die_again_and_again_are_given_up_and_none_is_left(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    made = [of(tmp_path / "run", n, trainer(n, Deadly(epochs_of(n), 0, marks, times=99))) for n in range(2)]
    with pytest.raises(Elsewhere, match=r"processes ended before a training did \(exit code -9\)"):
        Processes(tmp_path / "trainings.pt", 1, 1).train(made, heard())
    assert len(list(marks.iterdir())) == 2 and not (tmp_path / "trainings.pt").exists()


def searched(model, loaders, folder, **settings):
    given = {"budget": "flops<=30%", "granularity": 1, "target": TARGET, "episodes": 8, "agent": "random", "batch": 4}
    small = {"finalists": 2, "finetune_epochs": 1, "train_threads": 1}
    loaders = loaders | {"train": DataLoader(quarters(128, 0), batch_size=64, shuffle=True)}
    plain = {"candidate_weights": "recalibrated"}
    return autoprune.compress(model, **loaders, run=folder, **(given | small | plain | settings))


def in_turn(self, trainings, heard):
    """A place that is this process."""
    for each in trainings:
        each.trainer.run()
        save_weights(each.trainer.model.state_dict(), each.weights)


def heard_in(stages):
    def hear(progress, event):
        if event.kind == "stage_started":
            stages.append(progress.what)

    return hear


def test_a_job_reads_back_the_finalists_that_were_trained_elsewhere(trained, loaders, tmp_path, monkeypatch):
    monkeypatch.setattr(Processes, "train", in_turn)
    stages = []
    searched(trained, loaders, tmp_path / "run", workers=2, callbacks=[heard_in(stages)])
    assert any("fine-tuning finalists, 2 of " in what for what in stages)
    assert not any(what.startswith("fine-tuning finalist 1 of") for what in stages)  # they were there
    assert any(what.startswith("after fine-tuning finalist 1 of") for what in stages)


@pytest.mark.slow
def test_a_job_with_workers_ends_as_one_without(trained, loaders, tmp_path):
    longer = {"finetune_epochs": 2, "finetune_seeds": 2}
    searched(trained, loaders, tmp_path / "one", **longer)
    stages = []
    searched(trained, loaders, tmp_path / "two", **longer, workers=2, callbacks=[heard_in(stages)])
    tuned = [path.name for path in (tmp_path / "one" / "checkpoint").glob("tuned-*.safetensors")]
    assert sum("at a time" in what for what in stages) == 2 and len(tuned) >= 5
    for name in (*(f"checkpoint/{each}" for each in tuned), "finetuned.safetensors"):
        own, theirs = (read_weights(tmp_path / run / name) for run in ("one", "two"))
        assert all(torch.equal(own[key], theirs[key]) for key in own), name
    own, theirs = (json.loads((tmp_path / run / "policy.json").read_text())["kept"] for run in ("one", "two"))
    assert own == theirs


@pytest.mark.slow
def test_what_cannot_be_sent_is_trained_here_and_said(trained, loaders, tmp_path):
    def loss(output, batch):
        return torch.nn.functional.cross_entropy(output, batch[1])

    said = []

    def hear(progress, event):
        said.append(event.text)

    result = searched(trained, loaders, tmp_path / "own", workers=2, loss=loss, callbacks=[hear])
    assert any("cannot be sent to another process" in text and "one after the other" in text for text in said)
    assert result.finished


@pytest.mark.slow
def test_a_job_that_is_ended_keeps_what_the_processes_had_and_goes_on(tmp_path):
    made = [of(tmp_path / "run", n, trainer(n, epochs=40)) for n in range(2)]
    seen = []

    def end():
        if len(seen) > 4:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        Processes(tmp_path / "trainings.pt", 2, 1).train(made, heard(seen, end))
    assert not list((tmp_path / "run").glob("*.safetensors"))


@pytest.mark.distributed
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_ray_cluster_leaves_the_weights_of_this_process(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    made = [trainer(0), trainer(1, Deadly(epochs_of(1), 1, marks))]
    seen = []
    trainings = [of(tmp_path / "run", number, each) for number, each in enumerate(made)]
    Cluster("local", 2, 1).train(trainings, heard(seen))
    assert list(marks.iterdir())  # it was killed, and began again
    assert all(same(tmp_path / "run", number, alone(number)) for number in range(2)), seen
    with pytest.raises(Elsewhere, match=r"^--ray 127\.0\.0\.1:1: "):
        Cluster("127.0.0.1:1", 2, 1).train(trainings, heard())
