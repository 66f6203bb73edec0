"""The page's section on lottery tickets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoprune.reports.figures.lottery import barrier_figure, hardware_figure, lottery_figure
from autoprune.reports.html.rendering import Picture, Table, picture, table
from autoprune.reports.lottery import arms_in, lottery_lines, tables_of
from autoprune.run.report import Report

__all__ = ["LotterySection", "tickets_of"]

_HARDWARE = (
    "Units of each layer that a weight still makes and a weight still reads, in the first seed's tickets; below, where"
    " they were timed, milliseconds of tickets and their forms on the target."
)
_BARRIERS = "How far the score falls between two trainings of one state in other orders of the images: mean and seeds."


@dataclass(frozen=True)
class LotterySection:
    """What the page shows of a study.

    Attributes:
        pictures: Score over density; units alive and latency over density; barriers, where there are several.
        tables: Scores, paired differences, and transfer where there was one.
        lines: What is to be said of them.
    """

    pictures: list[Picture]
    tables: list[Table]
    lines: list[str]


def tickets_of(content: Mapping[str, Any]) -> LotterySection:
    """The section of a study's report."""
    spec = Report.of(content).score_spec
    asked = content["lottery"]
    pictures = [
        picture(
            lambda palette: lottery_figure(content["rounds"], arms_in(content), spec, palette),
            f"{spec.name[:1].upper()}{spec.name[1:]} on the test split over the share of weights that are kept: means"
            " over seeds, shaded by a standard error; below, the step of least validation loss.",
        )
    ]
    densities, stability = asked.get("densities", ()), asked.get("stability", ())
    if densities and densities[0]["units_alive"]:
        pictures.append(picture(lambda palette: hardware_figure(densities, palette), _HARDWARE))
    if len(stability) > 1:
        pictures.append(picture(lambda palette: barrier_figure(stability, spec, palette), _BARRIERS))
    return LotterySection(
        pictures, [table(header, rows) for header, *rows in tables_of(content)], lottery_lines(content)
    )
