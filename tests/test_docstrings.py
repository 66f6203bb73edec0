"""Examples in docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "autoprune"
MODULES = sorted(
    {
        ".".join(["autoprune", *path.relative_to(ROOT).with_suffix("").parts])
        for folder in (ROOT, ROOT / "envs", ROOT / "agents")
        for path in (folder.rglob("*.py") if folder == ROOT else folder.glob("*.py"))
        if ">>>" in path.read_text(encoding="utf-8")
    }
)


def test_there_are_examples():
    assert len(MODULES) > 10


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    outcome = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert outcome.attempted > 0 and outcome.failed == 0
