"""The page's section on lottery tickets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoprune.reports.figures.lottery import lottery_figure
from autoprune.reports.html.rendering import Picture, Table, picture, table
from autoprune.reports.lottery import arms_in, lottery_lines, tables_of
from autoprune.run.report import Report

__all__ = ["LotterySection", "tickets_of"]


@dataclass(frozen=True)
class LotterySection:
    """What the page shows of a study.

    Attributes:
        scores: Score over density.
        tables: Scores, paired differences, and transfer where there was one.
        lines: What is to be said of them.
    """

    scores: Picture
    tables: list[Table]
    lines: list[str]


def tickets_of(content: Mapping[str, Any]) -> LotterySection:
    """The section of a study's report."""
    spec = Report.of(content).score_spec
    caption = (
        f"{spec.name[:1].upper()}{spec.name[1:]} on the test split over the share of weights that are kept: means over"
        " seeds, shaded by a standard error; below, the step of least validation loss."
    )
    return LotterySection(
        picture(lambda palette: lottery_figure(content["rounds"], arms_in(content), spec, palette), caption),
        [table(header, rows) for header, *rows in tables_of(content)],
        lottery_lines(content),
    )
