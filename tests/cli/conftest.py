"""A folder as a user works in, with a model, loaders and a target of its own; the command line in this process."""

import shutil
from types import SimpleNamespace

import pytest
import torch

from tests.support.command_line import FAST, TINY


@pytest.fixture(scope="session")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path, monkeypatch, one_thread):
    """The working folder; whatever else appears in it was left there by a command."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def autoprune(folder, capfd):
    """Run a command: its exit code, output, and the lines of its error."""
    from autoprune.cli.main import run

    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        said = capfd.readouterr()
        errors = [line for line in said.err.splitlines() if line.startswith("autoprune: ")]
        assert "Traceback" not in said.err
        return SimpleNamespace(code=code, out=said.out, err=said.err, error="\n".join(errors), lines=len(errors))

    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory, one_thread):
    """A finished run of the tiny job, to be copied; the folder that holds `runs/done`."""
    import sys

    from autoprune.cli.main import run

    base = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(base)
        assert run(["compress", *TINY, *FAST, "--flops", "50%", "--run", "done"]) == 0
    assert "tests.support.tiny_job" in sys.modules
    return base


@pytest.fixture
def done(finished, folder):
    """A copy of the finished run in the working folder."""
    shutil.copytree(finished / "runs", folder / "runs")
    return folder / "runs" / "done"
