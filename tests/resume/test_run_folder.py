"""A run that is to be replaced, and a kill at any rename on the way: the old run or the new one is there, whole."""

from pathlib import Path

import pytest

from autoprune.errors import RunError
from autoprune.run import recovery
from autoprune.run.directory import RunDir
from autoprune.run.experiment import Experiment


class Killed(BaseException):
    pass


@pytest.fixture
def killed_at(monkeypatch):
    """Run a function that is killed before its n-th rename or removal; False if it came to its end."""

    def call(n, function, *arguments):
        count = 0

        def counted(real):
            def step(*given, **named):
                nonlocal count
                count += 1
                if count == n:
                    raise Killed
                return real(*given, **named)

            return step

        with monkeypatch.context() as patch:
            for owner, name in [(Path, "rename"), (Path, "unlink"), (Path, "rmdir"), (recovery.shutil, "rmtree")]:
                patch.setattr(owner, name, counted(getattr(owner, name)))
            try:
                function(*arguments)
            except Killed:
                return True
        return False

    return call


def make(path, word):
    (path / "checkpoint").mkdir(parents=True)
    for name in ("experiment.yaml", "episodes.jsonl", "policy.json", "checkpoint/journal.json"):
        (path / name).write_text(word)


def words(path):
    return {str(p.relative_to(path)): p.read_text() for p in path.rglob("*") if p.is_file()}


def test_a_kill_while_a_run_is_set_aside_or_put_back_loses_nothing(tmp_path, killed_at):
    kills = 0
    for n in range(1, 40):
        path = tmp_path / str(n)
        make(path, "old")
        old = words(path)
        if killed_at(n, recovery.set_aside, path):
            kills += 1
            recovery.recover(path)
            assert words(path) == old
            continue
        break
    for n in range(1, 40):
        for begin in (recovery.restore, recovery.set_aside):  # refused, or replaced once more
            path = tmp_path / f"{begin.__name__}-{n}"
            make(path, "old")
            recovery.set_aside(path)
            make(path, "new")
            (path / "dense.safetensors").write_text("new")
            kills += killed_at(n, begin, path)
            while killed_at(2, recovery.recover, path):  # and killed again while that is put right
                kills += 1
            if n == 1:  # nothing had been done yet: both are there
                assert words(path / ".replaced") == old
                assert (path / "episodes.jsonl").read_text() == "new"
                continue
            assert words(path) == old
    assert kills > 30


def test_a_kill_while_the_old_run_is_let_go_leaves_the_new_one(tmp_path, killed_at):
    for n in range(1, 4):
        path = tmp_path / str(n)
        make(path, "old")
        recovery.set_aside(path)
        make(path, "new")
        new = dict.fromkeys(words(path / ".replaced"), "new")
        killed_at(n, recovery.drop_replaced, path)
        recovery.recover(path)
        recovery.sweep(path)
        assert {name: word for name, word in words(path).items() if not name.startswith(".")} == new


def test_an_overwritten_run_is_there_until_the_new_one_stands(tmp_path):
    path = tmp_path / "run"
    with RunDir(path, Experiment(seed=1)) as run:
        run.append_episode({"episode": 0})
        run.mark_started()
    with RunDir(path, Experiment(seed=2), overwrite=True) as run:
        assert run.episodes() == []
        run.discard()
    with RunDir(path, Experiment(seed=1), resume=True) as run:
        assert len(run.episodes()) == 1
    with RunDir(path, Experiment(seed=2), overwrite=True) as run:
        run.mark_started()
        run.discard()  # too late
    assert sorted(p.name for p in path.iterdir()) == [".lock", "experiment.yaml"]


def test_a_kill_before_the_settings_were_written_needs_no_resume(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / ".lock").touch()
    (path / ".experiment.yaml.ab12cd_3.tmp").write_text("settin")
    with RunDir(path, Experiment()):
        assert not list(path.glob("*.tmp"))


def test_one_process_cannot_open_a_run_twice(tmp_path):
    with RunDir(tmp_path / "run", Experiment()), pytest.raises(RunError, match="in use by this process"):
        RunDir(tmp_path / "run", Experiment(), resume=True)
    RunDir(tmp_path / "run", Experiment(), resume=True).close()
