"""The parts of an HTML page: elements with escaped text, tables, the style sheet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from autoprune.reports.format import NONE

__all__ = ["NOT_MEASURED", "Html", "document", "element", "join", "missing", "section", "table"]

NOT_MEASURED = "not measured"


class Html(str):
    """Text that is HTML already; everything else is escaped when it enters a page."""

    __slots__ = ()


def html(content: object) -> Html:
    """Anything as HTML: escaped unless it is HTML already."""
    return content if isinstance(content, Html) else Html(escape(str(content)))


def join(parts: Iterable[object]) -> Html:
    """Parts one after the other, a line each."""
    return Html("\n".join(html(part) for part in parts))


def element(tag: str, *content: object, **attributes: str) -> Html:
    """An element; `class_` stands for the attribute `class`."""
    names = "".join(f' {name.rstrip("_")}="{escape(value)}"' for name, value in attributes.items())
    return Html(f"<{tag}{names}>{''.join(html(part) for part in content)}</{tag}>")


def section(title: str, *content: object) -> Html:
    """A section with its heading."""
    return element("section", element("h2", title), *content)


def missing(text: str) -> Html:
    """Text that stands where a figure would."""
    return element("span", text, class_="missing")


def table(header: Sequence[object], rows: Iterable[Sequence[object]], *, words: int = 1) -> Html:
    """A table in a box that scrolls sideways on a narrow screen.

    Args:
        header: The columns' names.
        rows: The cells; a dash (nothing there) is shown as "not measured".
        words: How many leading columns hold text; the others hold numbers, aligned to the right.
    """
    head = join(
        element("th", name, scope="col", class_="word" if i < words else "number") for i, name in enumerate(header)
    )
    body = [join(_cell(cell, i < words, i == 0) for i, cell in enumerate(row)) for row in rows]
    inside = element("thead", element("tr", head)), element("tbody", *(element("tr", row) for row in body))
    return element("div", element("table", *inside), class_="scroll", tabindex="0")


def _cell(cell: object, is_word: bool, is_first: bool) -> Html:
    kind = "word" if is_word else "number"
    if cell == NONE:
        cell = missing(NOT_MEASURED)
    return element("th", cell, scope="row", class_=kind) if is_first else element("td", cell, class_=kind)


def document(title: str, *content: object) -> str:
    """A whole page: valid HTML5, nothing loaded from elsewhere, no script."""
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="color-scheme" content="light dark">'),
            element("title", title),
            element("style", Html(_STYLE)),
        ]
    )
    body = element("body", element("main", Html("\n"), join(content), Html("\n")))
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n{body}\n</html>\n'


_STYLE = """
:root { --ink: #1f2328; --soft: #59636e; --grid: #dfe3e8; --kept: #2f6fb3; --dense: #b4bcc8; --limit: #c2410c;
  --chosen: #0f8a5f; --paper: #ffffff; --panel: #f6f8fa; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b1; --grid: #30363d; --kept: #5b9be0;
  --dense: #4a5360; --limit: #f0883e; --chosen: #3fc48f; --paper: #0f1318; --panel: #171c23; --bad: #ff8a7a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.15rem; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.75rem 0 .75rem; padding-top: .9rem; border-top: 1px solid var(--grid); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { max-width: 46rem; margin: .5rem 0; }
.soft, figcaption, .missing { color: var(--soft); }
.missing { font-size: .85em; }
.verdict { font-size: 1.7rem; line-height: 1.25; font-weight: 650; margin: .6rem 0 1.2rem; max-width: none; }
.verdict.met::before { content: "\\2713\\00a0"; color: var(--chosen); }
.verdict.missed { color: var(--bad); }
.verdict.missed::before { content: "\\2717\\00a0"; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 0; }
.tiles div { background: var(--panel); border-radius: .5rem; padding: .75rem .9rem; }
.tiles dt { color: var(--soft); font-size: .85rem; }
.tiles dd { margin: 0; font-size: 1.45rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tiles dd small { display: block; font-size: .8rem; font-weight: 400; color: var(--soft); }
.scroll { overflow-x: auto; }
.scroll + .scroll { margin-top: 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 50%; }
th, td { padding: .32rem .8rem .32rem 0; border-bottom: 1px solid var(--grid); vertical-align: baseline; }
thead th { font-weight: 600; color: var(--soft); font-size: .85rem; white-space: nowrap; }
tbody th { font-weight: 500; min-width: 7rem; }
.word { text-align: left; overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; padding-left: .8rem; }
td small { color: var(--soft); display: inline-block; min-width: 3.2em; }
tr:has(> .chosen) > * { font-weight: 650; }
figure { margin: .5rem 0 1rem; overflow-x: auto; }
figure svg { width: 100%; min-width: 34rem; height: auto; display: block; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure svg text { font-family: system-ui, sans-serif !important; }
figcaption { font-size: .9rem; }
details { margin: 1rem 0; }
summary { cursor: pointer; font-weight: 600; }
"""
