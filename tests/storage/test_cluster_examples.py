"""The examples for clusters in the documentation: their syntax, and that they name options that there are."""

import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml

from autoprune.run.experiment import Experiment

PAGE = Path(__file__).parents[2] / "docs" / "distributed.md"
OWN = {"worker", "resume", "overwrite"}  # of the command, not of the experiment
OF_OTHERS = {"array", "cpus-per-task", "time", "requeue", "standalone", "nproc-per-node", "max-restarts", "head",
             "port", "address", "candidates", "pause", "processes", "kills", "nnodes"}  # fmt: skip


def blocks():
    """The indented blocks of the page."""
    found, block = [], []
    for line in PAGE.read_text().splitlines():
        if line.startswith("    ") or (block and not line):
            block.append(line)
        elif block:
            found.append(textwrap.dedent("\n".join(block)).strip() + "\n")
            block = []
    return found


def test_the_slurm_script_is_valid_shell(tmp_path):
    (script,) = [block for block in blocks() if "#SBATCH" in block]
    if (shell := shutil.which("bash")) is None:
        pytest.skip("no bash")
    assert subprocess.run([shell, "-n"], input=script, text=True, check=False).returncode == 0


def test_the_kubernetes_job_is_a_job_whose_password_is_a_secret():
    (text,) = [block for block in blocks() if "apiVersion" in block]
    job = yaml.safe_load(text)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert (job["kind"], job["apiVersion"]) == ("Job", "batch/v1") and "--worker" in container["args"]
    secret = {each["name"]: each.get("valueFrom") for each in container["env"]}["PGPASSWORD"]
    assert "secretKeyRef" in secret and all("@" not in word or ":" not in word.split("//")[1] for word in
                                            container["args"] if "//" in word)  # fmt: skip


def test_the_options_in_the_examples_are_there():
    known = {name.replace("_", "-") for name in Experiment.model_fields} | OWN | OF_OTHERS
    used = {option for block in blocks() for option in re.findall(r"(?<!\S)--([a-z][a-z-]+)", block)}
    assert used <= known and {"worker", "storage", "study", "lease", "ray"} & used
