"""Templates and what they are given: tables and pictures. Every text is escaped by the template engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from autoprune.errors import MissingExtraError
from autoprune.reports.figures._matplotlib import DARK, LIGHT, Figure, Palette, svg_address
from autoprune.reports.format import NONE

__all__ = ["NOT_MEASURED", "Cell", "Picture", "Table", "missing", "picture", "render", "table"]

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Cell:
    """A table's cell.

    Attributes:
        text: What it says.
        beside: What the figure is relative to another, in small letters; room is left for it if it is empty.
        style: Class of the style sheet for the text: `missing`, `chosen`, or none.
    """

    text: str
    beside: str | None = None
    style: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row names it.

    Attributes:
        header: The columns' names.
        rows: The cells.
        words: How many leading columns hold text; the others hold numbers, aligned to the right.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: int = 1


@dataclass(frozen=True)
class Picture:
    """A picture and its caption.

    Attributes:
        caption: What the picture shows; read aloud to those who cannot see it.
        light: Address that holds the picture itself, for light pages.
        dark: The same for dark pages.
        absent: Why there is no picture; empty where there is one.
    """

    caption: str
    light: str = ""
    dark: str = ""
    absent: str = ""


def render(template: str, **values: object) -> str:
    """A whole page: valid HTML5, no script, nothing loaded from elsewhere.

    Args:
        template: Name of a file in `templates/`.
        **values: What the template shows.
    """
    return _environment().get_template(template).render(**values)


def missing(text: str) -> Cell:
    """A cell that says why it holds no figure."""
    return Cell(text, style="missing")


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, words: int = 1) -> Table:
    """A table of cells, of pairs (figure, what it is relative to another), and of plain values.

    A dash, which marks a missing figure everywhere else, is written out as "not measured".
    """
    return Table(tuple(header), tuple(tuple(map(_cell, row)) for row in rows), words)


def picture(draw: Callable[[Palette], Figure], caption: str) -> Picture:
    """A picture, drawn once for light and once for dark pages.

    Args:
        draw: Makes the figure in the given colours.
        caption: What it shows.
    """
    try:
        return Picture(caption, light=svg_address(draw(LIGHT)), dark=svg_address(draw(DARK)))
    except MissingExtraError as error:
        return Picture(caption, absent=str(error))


def _cell(content: object) -> Cell:
    if isinstance(content, Cell):
        return content
    text, beside = content if isinstance(content, tuple) else (str(content), None)
    return missing(NOT_MEASURED) if text == NONE else Cell(text, beside)


@cache
def _environment() -> Environment:
    """The template engine: everything is escaped, and a name that is not given is an error."""
    return Environment(
        loader=PackageLoader("autoprune.reports.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
