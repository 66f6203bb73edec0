"""Tests do not probe this machine: channel multiples are what the runtimes' classes name, in a cache of the test run.

A search space must not depend on how busy the machine is while its tests run. What probing finds is tested on devices
whose latencies are known by formula.
"""

import os
import tempfile

import pytest

_FOLDER = "AUTOPRUNE_CACHE"


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # pytest-xdist: the controller has done it, and its environment is inherited
        return
    from autoprune.hardware import TARGETS, get_target
    from autoprune.hardware.grid.probing import Probe, remember
    from autoprune.hardware.targets.integer_types import remember_types
    from autoprune.quantization.scheme import Scheme

    folder = tempfile.TemporaryDirectory(prefix="autoprune-cache-")
    config.add_cleanup(folder.cleanup)
    os.environ[_FOLDER] = folder.name
    for name in TARGETS:
        target = get_target(name)
        if target.available() is None:
            remember(target, Probe(target.channel_multiple, target.channel_multiple_reason))
            if "int8" in target.precisions:
                remember_types(target.fingerprint(), Scheme(reduced=True))  # right on every processor


_LONG = ("test_readme.py", "test_resume.py", "test_examples.py", "test_workers.py", "test_handed_over.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of minutes start first, and keep no worker waiting at the end (`--no-loadscope-reorder`)."""
    items.sort(key=lambda item: _LONG.index(item.path.name) if item.path.name in _LONG else len(_LONG))
