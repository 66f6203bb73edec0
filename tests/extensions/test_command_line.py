"""A criterion and a technique, a file each, that an installed package brings: used by their names, end to end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.command_line import TINY

TESTS = Path(__file__).parents[1]
FAST = ["--train-epochs", "2", "--finetune-epochs", "2", "--finalists", "2", "--episodes", "6", "--agent", "random"]


@pytest.fixture
def autoprune(installed, tmp_path):
    """The command line in a process of its own, where the third-party package is installed."""

    def call(*arguments):
        path = os.pathsep.join([str(TESTS.parent), str(installed), str(TESTS / "resume")])
        done = subprocess.run(
            [sys.executable, "-c", "from autoprune.cli import main; main()", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return call


def test_a_criterion_of_another_package(autoprune, tmp_path):
    assert "input_aware" in autoprune("compress", "--help").stdout
    done = autoprune("compress", *TINY, *FAST, "--flops", "50%", "--run", "mine", "--criterion", "input_aware")
    assert done.returncode == 0, done.stderr
    policy = json.loads((tmp_path / "runs/mine/policy.json").read_text())
    assert (policy["schema"], policy["criterion"]) == ("autoprune.policy/1", "input_aware")
    wrong = autoprune("compress", *TINY, *FAST, "--flops", "50%", "--run", "no", "--criterion", "input_awar")
    assert wrong.returncode == 2 and "did you mean 'input_aware'?" in wrong.stderr


def test_a_technique_beside_the_structured_one(autoprune, tmp_path):
    both = ["--techniques", "magnitude@levels=4,structured"]
    done = autoprune("compress", *TINY, *FAST, "--flops", "50%", "--run", "both", *both)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs/both"
    policy = json.loads((run / "policy.json").read_text())
    assert policy["schema"] == "autoprune.policy/2"
    shapes, masks = policy["techniques"]
    assert (shapes["technique"], shapes["stage"]) == ("structured", "shape")
    assert (masks["technique"], masks["stage"], masks["payload"]) == ("magnitude", "mask", {"levels": 4})
    dense, raw, tuned = (load_file(run / f"{name}.safetensors") for name in ("dense", "pruned", "finetuned"))
    assert any(raw[name].shape != dense[name].shape for name in raw)
    assert any(kept < 4 for kept in masks["choices"].values())
    for name, kept in masks["choices"].items():
        zeros = int(tuned[name].numel() * (1 - kept / 4))
        assert int((raw[name] == 0).sum()) == int((tuned[name] == 0).sum()) == zeros
        assert torch.equal(raw[name] == 0, tuned[name] == 0)  # held through fine-tuning
        assert not zeros or not torch.equal(raw[name], tuned[name])

    again = autoprune(
        "apply", run / "policy.json", "--weights", run / "dense.safetensors", "--out", "again.safetensors"
    )
    assert again.returncode == 0, again.stderr
    rebuilt = load_file(tmp_path / "again.safetensors")
    assert rebuilt.keys() == raw.keys() and all(torch.equal(rebuilt[name], raw[name]) for name in raw)
    assert autoprune("export", "runs/both", "--format", "safetensors", "--out", "small.safetensors").returncode == 0
    small = load_file(tmp_path / "small.safetensors")
    assert all(torch.equal(small[name], tuned[name]) for name in tuned)
