"""A picture on a page, or the line that stands in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autoprune.errors import MissingExtraError
from autoprune.reports.figures._matplotlib import inline_svg
from autoprune.reports.html.elements import Html, element

__all__ = ["picture"]


def picture(draw: Callable[[], Any], name: str, caption: str) -> Html:
    """A picture with its caption; one line instead where matplotlib is not installed."""
    try:
        svg = inline_svg(draw(), name, caption)
    except MissingExtraError as error:
        return element("p", f"No picture: {error}", class_="soft")
    return element("figure", Html(svg), element("figcaption", caption))
