"""Figures without pyplot, and what becomes of them: pixels, SVG inside a page, files.

matplotlib is an optional extra; `new_figure` raises `MissingExtraError` without it.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from autoprune.errors import InputError, MissingExtraError
from autoprune.foundations.files import replacing

__all__ = [
    "LIGHT",
    "PAGE",
    "Figure",
    "Palette",
    "inline_svg",
    "legend",
    "new_figure",
    "pixels",
    "require_matplotlib",
    "save",
]

Figure: TypeAlias = Any  # matplotlib is optional and has no place in an import here


@dataclass(frozen=True)
class Palette:
    """Colours by what they stand for.

    Attributes:
        ink: Text and axes.
        grid: Lines in the background.
        kept: What stays; the search's episodes.
        dense: The dense network; warm-up.
        limit: The budget.
        chosen: The chosen policy; the best so far.
        paper: Behind everything; `none` is transparent.
    """

    ink: str = "#1f2328"
    grid: str = "#dfe3e8"
    kept: str = "#2f6fb3"
    dense: str = "#b4bcc8"
    limit: str = "#c2410c"
    chosen: str = "#0f8a5f"
    paper: str = "#ffffff"


LIGHT = Palette()

# Stand-ins that `inline_svg` turns into the page's own colours, so that a picture follows light and dark.
PAGE = Palette("#010101", "#020202", "#030303", "#040404", "#050505", "#060606", paper="none")


def new_figure(
    width: float, height: float, palette: Palette, rows: int = 1, columns: int = 1
) -> tuple[Figure, list[Any]]:
    """A figure of `width` x `height` inches, and its axes, styled.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure as MatplotlibFigure

    figure = MatplotlibFigure(figsize=(width, height), layout="constrained", facecolor=palette.paper)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=rows > 1)
    axes = list(grid.flat)
    for one in axes:
        _style(one, palette)
    return figure, axes


def _style(axes: Any, palette: Palette) -> None:
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.grid(visible=True, color=palette.grid, linewidth=0.8)
    axes.tick_params(colors=palette.ink, labelcolor=palette.ink, labelsize=8, length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side in ("left", "bottom"))
        axes.spines[side].set_color(palette.grid)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(palette.ink)
        label.set_size(8.5)


def legend(axes: Any, palette: Palette, **place: Any) -> None:
    """A legend above the axes, if there is anything to explain."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, labelcolor=palette.ink, fontsize=8, borderaxespad=0.3, **place)


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """A figure as pixels, shape (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    with _any_script():
        canvas.draw()
    image: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return image


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """A figure drawn with `PAGE` as an SVG element to stand in an HTML page.

    Args:
        figure: The figure.
        name: Different for every picture of a page: identifiers inside begin with it.
        description: What a person who cannot see the picture is told; escaped here.
    """
    from html import escape

    import matplotlib

    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), _any_script():
        figure.savefig(stream, format="svg", metadata=nothing, transparent=True)
    text = stream.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(
        r"<metadata>.*?</metadata>|<style [^>]*>.*?</style>|<defs>\s*</defs>|<!--.*?-->", "", text, flags=re.S
    )
    box = re.search(r'viewBox="([^"]*)"', text)
    opening = f'<svg viewBox="{box[1] if box else ""}" role="img" aria-label="{escape(description)}">'
    text = re.sub(r"<svg [^>]*>", lambda _: opening, text, count=1, flags=re.S)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'(id="|href="#|url\(#)', rf"\1{name}-", text)
    for field in fields(PAGE):
        text = text.replace(f" {getattr(PAGE, field.name)}", f" var(--{field.name})") if field.name != "paper" else text
    return text


def save(figure: Figure, out: str | Path) -> None:
    """Write a figure as PNG or SVG, by the file's suffix, replacing it atomically.

    Raises:
        InputError: If the suffix is neither, or the file cannot be written.
    """
    out = Path(out)
    suffix = out.suffix.lower().lstrip(".")
    if suffix not in ("png", "svg"):
        raise InputError(f"cannot draw {out}: write a name that ends in .png or .svg")
    with replacing(out) as temporary, _any_script():
        figure.savefig(temporary, format=suffix, dpi=150)


def require_matplotlib() -> None:
    """Raise `MissingExtraError` unless matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error


@contextmanager
def _any_script() -> Iterator[None]:
    """Names in scripts that the drawing font lacks are no reason to warn: pages and viewers bring their own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield
