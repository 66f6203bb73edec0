"""The structure of the library: no circles, no large or lonely folders, every package says what it holds."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MOST_FILES = 15


@pytest.fixture(scope="module")
def house():
    spec = importlib.util.spec_from_file_location("house", ROOT / "benchmarks" / "house.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def modules(house):
    return house.files_of(ROOT)


@pytest.fixture(scope="module")
def imports(house, modules):
    return house.imports_of(modules)


def test_no_files_import_each_other_in_a_ring(house, imports):
    assert house.file_circles(imports) == []


def test_no_siblings_import_each_other_in_a_ring(house, imports):
    assert house.room_circles(imports) == []


def test_rings_are_found(house, tmp_path):
    package = tmp_path / "autoprune"
    for name, text in {
        "a/__init__.py": "",
        "a/x.py": "def late():\n    from autoprune.b.y import there\n",
        "b/__init__.py": "",
        "b/y.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from autoprune.a import x\n",
        "b/z.py": "import autoprune.a.x\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    found = house.imports_of(house.files_of(tmp_path))
    assert house.file_circles(found) == [["autoprune.a.x", "autoprune.b.y"]]
    assert house.room_circles(found) == [["autoprune.a", "autoprune.b"]]


def test_folders_hold_between_two_and_fifteen_files(house, modules):
    count = house.files_a_folder(modules)
    assert {folder: n for folder, n in count.items() if not 2 <= n <= MOST_FILES} == {}


def test_every_package_says_in_one_line_what_it_holds(modules):
    packages = {name: path for name, path in modules.items() if path.name == "__init__.py"}
    documented = {
        name: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for name, path in packages.items()
    }
    assert [name for name, text in documented.items() if not text] == []


def test_code_asks_contracts_and_not_names(house, modules):
    """Each comparison with the name of an agent, a budget or a kind of decision is a place to extend by hand."""
    assert sum(house.named_kinds(modules).values()) <= 6
