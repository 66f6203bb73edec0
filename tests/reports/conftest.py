import pytest

from tests.support.run_folders import six_decisions, write_run


@pytest.fixture
def space():
    return six_decisions()


@pytest.fixture
def run(tmp_path, space):
    """One finished run with every file."""
    return write_run(tmp_path / "runs" / "first", space)
