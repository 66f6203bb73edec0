"""A disk that is full or read-only: one line, exit 2, nothing lost, and the run goes on once there is room."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.killable_jobs import Shop, assert_same

SETTINGS = ["--agent", "random", "--flops", "50%"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    opened = Shop(tmp_path_factory.mktemp("shop"))
    assert opened.run(*SETTINGS, "--run", "whole") == 0, opened.said()
    yield opened
    opened.close()


def mount(*arguments):
    return subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 400 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = mount("-t", "tmpfs", "-o", "size=400k", "none", str(folder)) if sys.platform == "linux" else None
    if made is None or made.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {'needs Linux' if made is None else made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def error_of(shop):
    lines = [line for line in shop.said().splitlines() if line.startswith("autoprune: ")]
    assert len(lines) == 1, shop.said()
    assert "Traceback" not in shop.said()
    return lines[0]


@pytest.mark.parametrize("free", [300, 60, 8, 0])
def test_a_run_on_a_full_disk_says_so_and_goes_on_when_there_is_room(shop, small_disk, free):
    """The disk is filled up to so many KB; where that is enough for a part of the run, the part stays."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes((400 - free) * 1024) if free else b"")
    if not free:  # to the last byte
        with filler.open("ab", buffering=0) as stream:
            try:
                while stream.write(bytes(4096)):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC
    run = small_disk / "run"
    code = shop.run(*SETTINGS, "--run", str(run))
    assert code == 2, shop.said()
    assert "No space left on device" in error_of(shop)
    filler.unlink()
    assert mount("-o", "remount,size=20m", str(small_disk)).returncode == 0
    assert shop.run(*SETTINGS, "--run", str(run), "--resume") == 0, shop.said()
    assert_same(run, shop.folder / "runs" / "whole")


def test_a_read_only_disk_is_refused(shop, small_disk):
    assert mount("-o", "remount,ro", str(small_disk)).returncode == 0
    assert shop.run(*SETTINGS, "--run", str(small_disk / "run")) == 2
    assert "cannot write to" in error_of(shop)
    assert "Read-only file system" in error_of(shop)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("call", [1, 2, 5, 9, 16])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, call):
    """Without a mount: the n-th write of a run's files fails as on a full disk; what was there can be read."""
    from autoprune.errors import InputError
    from autoprune.run.directory import RunDir
    from autoprune.run.experiment import Experiment

    flush, calls = os.fsync, 0

    def full(handle):
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(handle)

    monkeypatch.setattr(os, "fsync", full)
    path, settings, finished = tmp_path / "run", Experiment(), 0
    with pytest.raises(InputError, match="No space left on device"), RunDir(path, settings) as run:
        for episode in range(20):
            run.remember("last", episode)
            run.append_episode({"episode": episode})
            finished += 1
    monkeypatch.undo()
    if call == 1:
        assert not path.exists()
        return
    assert not [p.name for p in path.rglob("*.tmp")]
    with RunDir(path, settings, resume=True) as run:
        assert [row["episode"] for row in run.episodes()][:finished] == list(range(finished))
        assert run.recall("last") in (None, finished, finished - 1)
        assert Path(run.path).exists()
