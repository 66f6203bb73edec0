"""The package as it is installed: names, links, guards, and what importing costs."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_on_disk_is_listed():
    found = {"autoprune"}
    for init in (ROOT / "autoprune").rglob("__init__.py"):
        found.add(".".join(init.parent.relative_to(ROOT).parts))
    for linked in ("envs", "agents"):  # rglob does not follow the two links
        parts = (p.parent.relative_to(ROOT).parts for p in (ROOT / linked).rglob("__init__.py"))
        found |= {".".join(("autoprune", *each)) for each in parts}
    assert set(project()["tool"]["setuptools"]["packages"]) == found


def test_the_links_are_relative_and_lead_to_the_folders():
    for name in ("envs", "agents"):
        link = ROOT / "autoprune" / name
        assert link.is_symlink()
        assert link.readlink() == Path("..") / name
        assert (ROOT / name / "__init__.py").is_file()


@pytest.mark.parametrize("name", ["envs", "agents"])
def test_the_folders_refuse_to_be_packages_of_their_own(name):
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"import autoprune.{name}" in done.stderr


def test_the_environment_is_registered_by_importing_autoprune():
    code = "import autoprune, gymnasium; gymnasium.spec('autoprune/Pruning-v0')"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    code = "import gymnasium, autoprune; gymnasium.spec('autoprune/Pruning-v0')"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_all_names_are_sorted_complete_and_there():
    import autoprune

    assert autoprune.__all__ == sorted(autoprune.__all__)
    for name in autoprune.__all__:
        assert getattr(autoprune, name) is not None
    assert set(autoprune.__all__) <= set(dir(autoprune))


def test_importing_the_package_or_the_command_line_does_not_import_torch():
    heavy = ("torch", "sklearn", "onnx", "optuna", "gymnasium", "numpy")
    code = f"import sys, autoprune, autoprune.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_wheel_holds_every_module_and_the_weights(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    tracked = {str(p.relative_to(ROOT)) for p in (ROOT / "autoprune").rglob("*.py") if "__pycache__" not in p.parts}
    tracked |= {f"autoprune/{p.relative_to(ROOT)}" for f in ("envs", "agents") for p in (ROOT / f).rglob("*.py")}
    assert tracked <= names
    assert {str(p.relative_to(ROOT)) for p in (ROOT / "autoprune").rglob("*.safetensors")} <= names
    assert not any(name.startswith(("envs/", "agents/", "tests/")) for name in names)


def test_the_module_is_the_command_line():
    words = [sys.executable, "-m", "autoprune"]
    shown = subprocess.run([*words, "--version"], capture_output=True, text=True, check=True).stdout
    assert shown == f"autoprune {project()['project']['version']}\n"
    wrong = subprocess.run([*words, "report", "no-such-run"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "there is no run at no-such-run" in wrong.stderr


IMPORTED_AS = {
    "sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml", "stable_baselines3": "stable-baselines3",
}  # fmt: skip
OF_TESTS = {"pytest"}  # the conformance kits run in a test suite, which has it


def test_every_package_that_is_imported_is_declared():
    import ast
    import re

    folders = (ROOT / "autoprune", ROOT / "envs", ROOT / "agents")
    trees = [ast.parse(path.read_text(encoding="utf-8")) for folder in folders for path in folder.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    roots = {name.partition(".")[0] for name in names} - {"autoprune"} - set(sys.stdlib_module_names)
    given = project()["project"]
    extras = [each for name, extra in given["optional-dependencies"].items() if name != "dev" for each in extra]
    declared = {re.split(r"[<>=\[]", each)[0] for each in (*given["dependencies"], *extras)}
    assert {name for name in roots - OF_TESTS if IMPORTED_AS.get(name, name) not in declared} == set()


def test_versions_agree():
    import importlib.metadata

    assert importlib.metadata.version("autoprune") == project()["project"]["version"]
    assert f"## {project()['project']['version']}" in (ROOT / "CHANGELOG.md").read_text()
