"""The structure of the library in figures: files a folder, import circles, untyped values, names of kinds in the code.

    python benchmarks/house.py [REVISION ...]

Reads the working tree, and every revision that is named beside it, as text: nothing is imported. Imports inside
functions and under TYPE_CHECKING count. `tests/test_house.py` holds the bounds.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import networkx

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("autoprune", "agents", "envs")
# Strings that name a kind of decision, a budget, an agent or a technique, where code compares with them.
KINDS = {"channels", "block", "heads", "latency", "flops", "params", "energy", "ddpg", "optuna", "uniform", "random"}


def files_of(root: Path) -> dict[str, Path]:
    """Module name -> file; `agents/` and `envs/` count as `autoprune.agents` and `autoprune.envs`."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            if any(part.is_symlink() for part in (path, *path.parents) if root in part.parents):
                continue
            parts = path.relative_to(root).with_suffix("").parts
            parts = parts if folder == "autoprune" else ("autoprune", *parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(modules: Mapping[str, Path]) -> networkx.DiGraph:
    """Which module imports which, by its text."""
    graph = networkx.DiGraph()
    graph.add_nodes_from(modules)
    for name, path in modules.items():
        for target in _imported(ast.parse(path.read_text(encoding="utf-8")), modules):
            if target != name:
                graph.add_edge(name, target)
    return graph


def _imported(tree: ast.AST, modules: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else str(node.module)


def file_circles(graph: networkx.DiGraph) -> list[list[str]]:
    """Files that import each other in a ring; a package's `__init__` counts as a file."""
    return [sorted(ring) for ring in networkx.strongly_connected_components(graph) if len(ring) > 1]


def room_circles(graph: networkx.DiGraph) -> list[list[str]]:
    """Rings between siblings of any package: folders, and files beside them."""
    rings = []
    packages = {name.rpartition(".")[0] for name in graph} - {""}
    for package in sorted(packages):
        siblings = networkx.DiGraph()
        for one, other in graph.edges:
            a, b = _child(one, package), _child(other, package)
            if a and b and a != b:
                siblings.add_edge(a, b)
        rings += file_circles(siblings)
    return rings


def _child(name: str, package: str) -> str | None:
    """The child of a package that a module belongs to; None for the package itself and what lies elsewhere."""
    if not name.startswith(f"{package}."):
        return None
    return f"{package}.{name.removeprefix(f'{package}.').partition('.')[0]}"


def files_a_folder(modules: Mapping[str, Path]) -> dict[str, int]:
    """Python files of every folder, `__init__.py` left out."""
    count: Counter[str] = Counter()
    for path in modules.values():
        count[str(path.parent)] += path.name != "__init__.py"
    return dict(count)


def untyped(modules: Mapping[str, Path]) -> int:
    """How often an annotation says `dict[str, Any]`."""
    return sum(len(re.findall(r"dict\[str, Any\]", path.read_text(encoding="utf-8"))) for path in modules.values())


def named_kinds(modules: Mapping[str, Path]) -> dict[str, int]:
    """Comparisons with the name of a kind, a budget or an agent (`==`, `!=`, `in`), by module."""
    found: dict[str, int] = defaultdict(int)
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                found[name] += any(_names_kind(side) for side in (node.left, *node.comparators))
    return {name: count for name, count in found.items() if count}


def _names_kind(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(_names_kind(item) for item in node.elts)
    constants = {"CHANNELS", "BLOCK", "PROGRESSIVE"}
    return (isinstance(node, ast.Constant) and node.value in KINDS) or (
        isinstance(node, ast.Name) and node.id in constants
    )


def show(title: str, root: Path) -> None:
    """Print the figures of a tree."""
    modules = files_of(root)
    graph, folders = imports_of(modules), files_a_folder(modules)
    largest = max(folders, key=lambda folder: folders[folder])
    print(f"{title}: {len(modules)} modules in {len(folders)} folders, {graph.number_of_edges()} imports")
    print(f"  largest folder: {Path(largest).name}, {folders[largest]} files; one file alone: ", end="")
    print(", ".join(sorted(Path(folder).name for folder, n in folders.items() if n == 1)) or "none")
    rings, rooms = file_circles(graph), room_circles(graph)
    print(f"  circles between files: {len(rings)}; between siblings: {len(rooms)}")
    for ring in rings:
        print(f"    {', '.join(ring)}")
    kinds = named_kinds(modules)
    print(f"  dict[str, Any]: {untyped(modules)}; comparisons that name a kind: {sum(kinds.values())}")


def main(revisions: list[str]) -> None:
    """Print the figures of revisions, then of the working tree."""
    for revision in revisions:
        packed = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True).stdout
        with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
            show(revision, Path(folder))
    show("working tree", ROOT)


if __name__ == "__main__":
    main(sys.argv[1:])
