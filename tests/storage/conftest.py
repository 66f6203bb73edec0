"""Stores of every kind that this machine can have."""

import pytest

from autoprune.storage.registry import open_store
from tests.support.postgres import cluster, why_not


@pytest.fixture(scope="session")
def postgres():
    """The URL of an empty database of a cluster of our own."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with cluster() as server:
        yield server


@pytest.fixture(params=["journal", "sqlite", pytest.param("postgresql", marks=pytest.mark.distributed)])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgres").url
    return f"journal:{tmp_path / 'log'}" if request.param == "journal" else f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def store(url, request):
    with open_store(url, request.node.name) as opened:
        yield opened
