"""An agent of another package: one file, installed beside autoprune and named by an entry point."""

import json
import subprocess
import sys
import textwrap

import pytest

from tests.support.command_line import TINY
from tests.support.paths import importing

SETTINGS = [*TINY]
SETTINGS += ["--flops", "50%", "--train-epochs", "1", "--episodes", "6", "--warmup", "2"]

AGENT = '''
"""Climbs: from the best policy so far, one decision is drawn anew."""

from autoprune.agents import Agent, best


class Climber(Agent):
    name = "mine"

    def _plan(self, k):
        choices = self._prescribed(k) or dict(best(self.history)[0].choices)
        if k >= self.warmup:
            draw = self._generator(k)
            decision = self.env.space.decisions[draw.integers(len(self.env.space.decisions))]
            choices[decision.name] = int(draw.choice(decision.options))
        return self._episode(k, choices)
'''

ITS_TESTS = """
from autoprune.testing.agent import AgentTests
from climber import Climber


class TestClimber(AgentTests):
    agent = Climber
"""


COMMAND = [sys.executable, "-c", "from autoprune.cli import main; main()", "search", *SETTINGS, "--run", "climb"]


@pytest.fixture
def installed(tmp_path):
    """A folder in which the package lies as pip would leave it; the environment that imports from it."""
    (tmp_path / "climber.py").write_text(AGENT)
    info = tmp_path / "climber-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: climber\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[autoprune.agents]\nmine = climber:Climber\n")
    return importing(tmp_path, OMP_NUM_THREADS="1")


def test_it_is_chosen_by_its_name_on_the_command_line(installed, tmp_path):
    command = [*COMMAND, "--agent", "mine"]
    done = subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "runs" / "climb" / "episodes.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert {row["agent"] for row in rows} == {"mine"}
    assert json.loads((tmp_path / "runs" / "climb" / "policy.json").read_text())["agent"] == "mine"


def test_its_name_is_suggested(installed, tmp_path):
    command = [*COMMAND, "--agent", "mime"]
    done = subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean 'mine'" in done.stderr


def test_it_passes_the_conformance_kit(installed, tmp_path):
    (tmp_path / "test_climber.py").write_text(textwrap.dedent(ITS_TESTS))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_climber.py"]
    done = subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
