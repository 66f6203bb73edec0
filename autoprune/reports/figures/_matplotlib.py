"""Figures without pyplot, and what becomes of them: pixels, pictures within a page, files.

matplotlib is an optional extra; `new_figure` raises `MissingExtraError` without it.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from autoprune.errors import InputError, MissingExtraError
from autoprune.foundations.files import replacing

__all__ = [
    "DARK",
    "LIGHT",
    "Figure",
    "Palette",
    "legend",
    "new_figure",
    "pixels",
    "require_matplotlib",
    "require_picture",
    "save",
    "svg_address",
]

_DPI = 150  # of pixels, also of those inside an SVG

Figure: TypeAlias = Any  # matplotlib is optional and has no place in an import here


@dataclass(frozen=True)
class Palette:
    """Colours by what they mean.

    Attributes:
        ink: Text and axes.
        grid: Lines in the background.
        kept: What stays; the search's episodes.
        dense: The dense network; warm-up.
        limit: The budget.
        chosen: The chosen policy; the best so far.
        paper: Behind everything.
    """

    ink: str = "#1f2328"
    grid: str = "#dfe3e8"
    kept: str = "#2f6fb3"
    dense: str = "#b4bcc8"
    limit: str = "#c2410c"
    chosen: str = "#0f8a5f"
    paper: str = "#ffffff"


LIGHT = Palette()
"""The colours of files, and of a light page; pages have the same: html/templates/style.css."""

DARK = Palette(
    ink="#e6e9ee", grid="#30363d", kept="#5b9be0", dense="#4a5360", limit="#f0883e", chosen="#3fc48f", paper="#0f1318"
)
"""The colours of a dark page."""


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


def svg_address(figure: Figure) -> str:
    """A figure as an SVG picture within its own address (`data:image/svg+xml;...`), for pages that load nothing.

    A browser runs no script in such a picture and lets it load nothing, whatever names are drawn in it.
    """
    import matplotlib

    stream = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "autoprune"}), _any_script():
        figure.savefig(stream, format="svg", metadata=nothing, transparent=True, dpi=_DPI)
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode()}"


def save(figure: Figure, out: str | Path) -> None:
    """Write a figure as PNG or SVG, by the file's suffix, replacing it atomically.

    Raises:
        InputError: If the suffix is neither, or the file cannot be written.
    """
    suffix = require_picture(out)
    with replacing(out) as temporary, _any_script():
        figure.savefig(temporary, format=suffix, dpi=_DPI)


def require_picture(out: str | Path) -> str:
    """The form of a picture by its file's suffix: `png` or `svg`.

    Raises:
        InputError: If the suffix is neither.
    """
    suffix = Path(out).suffix.lower().lstrip(".")
    if suffix not in ("png", "svg"):
        raise InputError(f"cannot draw {out}: write a name that ends in .png or .svg")
    return suffix


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
