"""Every command of the README runs: as it stands where that is quick, with fewer episodes where it is not."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

NETS = """
from torch import nn

def small():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3),
    )
"""
DATA = """
import torch
from torch.utils.data import DataLoader, TensorDataset

def split(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randn(count, 1, 32, 32, generator=generator) + labels.view(-1, 1, 1, 1)
    return TensorDataset(images, labels)

def loaders():
    return tuple(DataLoader(split(96, seed), batch_size=32, shuffle=seed == 0) for seed in range(3))
"""

# What is added to a command so that the test takes seconds; the README's words stay as they are.
SHORTER = {
    "compress": ("--episodes", "6", "--finetune-epochs", "1", "--granularity", "16", "--timing", "quick"),
    "profile": ("--granularity", "16", "--timing", "quick"),
    "bench": ("--repetitions", "2", "--timing", "quick"),
    "lottery": ("--rounds", "1", "--seeds", "1", "--train-epochs", "1", "--timing", "quick"),
    "progressive": ("--step", "30%", "--finetune-epochs", "1", "--granularity", "16", "--timing", "quick"),
}


def commands() -> list[str]:
    """The lines of the README's shell blocks, continuations joined, comments off."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)).replace("\\\n", " ")
    return [" ".join(line.split("  #")[0].split()) for line in blocks.splitlines() if line.strip()]


def autoprune(command: str, folder: Path, *more: str) -> str:
    arguments = [*shlex.split(command)[1:], *more]
    code = "from autoprune.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_readme_has_the_commands_that_are_tested_here():
    kinds = {" ".join(shlex.split(line)[:2]) for line in commands()}
    assert kinds == {
        "make demo",
        "make test",
        "pip install",
        "autoprune inspect",
        "autoprune compress",
        "autoprune export",
        "autoprune lottery",
        "autoprune targets",
        "autoprune profile",
        "autoprune bench",
        "autoprune progressive",
        "cd examples",
    }
    assert sum("fashion-mnist-resnet20" in line for line in commands()) == 1


def test_the_make_targets_exist():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in commands():
        if line.startswith("make "):
            assert re.search(rf"^{line.split()[1]}:", text, flags=re.MULTILINE), line


def test_the_commands_for_ones_own_network(tmp_path):
    import torch

    from autoprune.models import save_weights

    (tmp_path / "mynets.py").write_text(NETS)
    (tmp_path / "mydata.py").write_text(DATA)
    namespace: dict = {}
    exec(NETS, namespace)
    with torch.random.fork_rng():
        save_weights(namespace["small"]().state_dict(), tmp_path / "trained.safetensors")
    mine = [line for line in commands() if line.startswith("autoprune ") and ("mynets" in line or "runs/mine" in line)]
    seen = [autoprune(line, tmp_path, *SHORTER.get(line.split()[1], ())) for line in mine]
    inspected, compressed, exported, profiled, benched, stepped = seen
    assert "what can be pruned" in inspected
    assert ": met" in compressed
    assert (tmp_path / "runs" / "mine" / "report.html").exists()
    assert (tmp_path / "small.onnx").stat().st_size > 1000
    assert "small.onnx" in exported
    assert "layers measured" in profiled
    assert json.loads((tmp_path / "device.json").read_text())["schema"] == "autoprune.device_table/1"
    assert all(target in benched for target in ("onnxruntime", "openvino", "torch"))
    assert ": met" in stepped


def test_the_study_of_lottery_tickets(tmp_path):
    line = next(line for line in commands() if line.startswith("autoprune lottery"))
    assert "not judged with fewer than three seeds" in autoprune(line, tmp_path, *SHORTER["lottery"])
    rows = [json.loads(row) for row in (tmp_path / "runs/tickets/rounds.jsonl").read_text().splitlines()]
    assert [(row["arm"], row["round"]) for row in rows] == [
        ("dense", 0), ("reinit", 0), ("ticket", 1), ("reinit", 1), ("random", 1),
    ]  # fmt: skip
    assert {row["weights"] for row in rows if row["round"]} == {256 * 300 * 8 // 10 + 24_000 + 900}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_command_behind_the_published_figures(tmp_path):
    line = next(line for line in commands() if "fashion-mnist-resnet20" in line)
    shorter = ["--episodes", "6", "--finetune-epochs", "1", "--finalists", "1", "--finetune-seeds", "1"]
    assert ": met" in autoprune(line, tmp_path, *shorter)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_third_partys_network_goes_through_the_same_command(tmp_path):
    pytest.importorskip("transformers")
    line = next(line for line in commands() if line.startswith("cd examples"))
    (tmp_path / "third_party.py").write_text((ROOT / "examples" / "third_party.py").read_text())
    assert ": met" in autoprune(line.partition("&& ")[2], tmp_path)


def test_a_third_partys_network_is_searched_and_exported(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "third_party.py").write_text((ROOT / "examples" / "third_party.py").read_text())
    command = (
        "autoprune compress --model third_party:hf_resnet --data digits --flops 60% --target torch --agent random"
        " --episodes 3 --train-epochs 1 --finetune-epochs 1 --finalists 1 --run t"
    )
    assert ": met" in autoprune(command, tmp_path)
    autoprune("autoprune export runs/t --format onnx --out small.onnx", tmp_path)
    assert (tmp_path / "small.onnx").exists()
