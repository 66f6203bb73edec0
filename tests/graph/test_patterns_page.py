"""docs/patterns.md says of every pattern what the tests prove. `python -m tests.graph.test_patterns_page` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support.nets.ambiguous import AMBIGUOUS_CASES
from tests.support.nets.computed_weights import COMPUTED_CASES
from tests.support.nets.forms import FORM_CASES
from tests.support.nets.norms import NORM_CASES, UNSEEN_CASES
from tests.support.nets.parts import PARTS_CASES
from tests.support.nets.plain import CASES, Case
from tests.support.nets.shapes import SHAPE_CASES
from tests.support.nets.untouched import UNTOUCHED_CASES
from tests.support.nets.weights import WEIGHT_CASES

PAGE = Path(__file__).parents[2] / "docs" / "patterns.md"
HEAD = """# Patterns that the engine knows

Each line is a small network in `tests/support/nets`, with the decisions that must be found in it (first producer:
units) and what must be frozen, with part of the reason. `tests/graph/test_patterns.py` holds the engine to both, and
compares cut, selected and silenced network under random policies.
`python -m tests.graph.test_patterns_page` writes this page.
"""
THEMES: tuple[tuple[str, Mapping[str, Case]], ...] = (
    ("Couplings", CASES),
    ("Normalised widths", {**NORM_CASES, **UNSEEN_CASES}),
    ("Moved, padded, repeated and picked channels", SHAPE_CASES),
    ("Parts of a width", PARTS_CASES),
    ("Graphs with several readings", AMBIGUOUS_CASES),
    ("Weights", WEIGHT_CASES),
    ("Weights that the forward computes", COMPUTED_CASES),
    ("Operators that leave each channel to itself", UNTOUCHED_CASES),
    ("Forms of the call", FORM_CASES),
)


def page() -> str:
    """The page's text."""
    parts = [HEAD]
    for title, cases in THEMES:
        rows = "\n".join(row(name, case) for name, case in cases.items())
        parts.append(f"## {title}\n\n| pattern | prunable | frozen |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def row(name: str, case: Case) -> str:
    """One pattern."""
    prunable = ", ".join(f"{group}: {width}" for group, width in case.groups.items()) or "nothing"
    frozen = "; ".join(f"{layer}: {reason}" for layer, reason in case.frozen.items() if reason != "model output")
    return f"| {name.replace('_', ' ')} | {prunable} | {frozen} |"


def test_the_page_is_what_the_tests_prove() -> None:
    assert PAGE.read_text() == page()


if __name__ == "__main__":
    PAGE.write_text(page())
