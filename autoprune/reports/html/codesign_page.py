"""The page of a run of `autoprune codesign`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.reports.codesign import codesign_lines
from autoprune.reports.figures.codesign import (
    energy_figure,
    front_figure,
    index_figure,
    ladder_figure,
    load_figure,
    queue_figure,
    roofline_figure,
)
from autoprune.reports.format import NONE, flat, percent, plain
from autoprune.reports.html.rendering import Table, picture, render, table

__all__ = ["codesign_page"]


def codesign_page(name: str, content: Mapping[str, Any]) -> str:
    """The page of a run of `codesign`, by its name and what `report.json` holds."""

    def drawn(draw: Any, caption: str) -> Any:
        return picture(lambda palette: draw(content, palette), caption)

    about = {key: content[key] for key in ("model", "data", "agent", "seed", "objective", "sample", "evaluations")}
    chip = content["chosen"]["accelerator"]
    return render(
        "codesign.html",
        title=f"autoprune codesign: {name}",
        lines=codesign_lines(content),
        target=content["target"],
        front=drawn(
            front_figure,
            "Accuracy on the test split before fine-tuning, and what a call takes of the objective, each policy on its"
            " best chip within the area; the baselines beside it. Points were chosen on the search split.",
        ),
        points=_points(content),
        load=drawn(
            load_figure, "Kept weights of the processing elements, rows dealt in turn: fullest, mean, emptiest."
        ),
        energy=drawn(energy_figure, "Energy of the fine-tuned network by layer and component, as simulated."),
        roofline=drawn(
            roofline_figure,
            "Useful multiply-accumulates a cycle over those for each byte that is moved: the fine-tuned network's"
            " layers, and the chip's ceiling.",
        ),
        ladder=drawn(
            ladder_figure, "Where the lane-cycles of each layer go: useful work, and the causes that lose the rest."
        ),
        index=drawn(
            index_figure,
            "Bits of index for each kept weight as encoded, values of 4 bits, rows dealt to the chip's lanes; and what"
            " entropy allows of a random mask of that density.",
        ),
        queues=drawn(queue_figure, "Lanes that do useful work over the depth of the queues.")
        if content["queues"]
        else None,
        layers=_layers(content),
        chip=table(("key", "value"), [(key, plain(value)) for key, value in flat(chip)], words=2),
        free=table(
            ("operator", "where", "why"),
            [(each["operator"], each["name"], each["reason"]) for each in content["free"]],
            words=3,
        ),
        settings=table(("name", "value"), [(key, plain(value)) for key, value in flat(about)], words=2),
        error=_error(content["table_error"]),
    )


def _points(content: Mapping[str, Any]) -> Table:
    """The front and every baseline, a row a point."""
    named = {"joint": content["front"], **content["baselines"]}
    rows = [
        (
            name,
            NONE if each["accuracy"] is None else percent(each["accuracy"], 2),
            f"{each['cycles']:,.0f}",
            f"{each['latency_ms']:.4g}",
            f"{each['energy_mj']:.4g}",
            f"{each['area_mm2']:.3g}",
            each["pattern"],
            percent(each["density"], 1),
            each["hardware"],
        )
        for name, points in named.items()
        for each in points
    ]
    header = ("search", "accuracy", "cycles", "ms", "mJ", "mm2", "pattern", "weights kept", "chip")
    return table(header, rows)


def _layers(content: Mapping[str, Any]) -> Table:
    rows = [
        (
            each["name"],
            f"{each['outputs']} x {each['inputs']}",
            percent(each["density"], 1),
            percent(each["active"], 1),
            f"{each['cycles']:,.0f}",
            NONE if not each["dense_cycles"] else percent(each["cycles"] / each["dense_cycles"], 1),
            percent(each["utilisation"], 1),
            f"{sum(each['energy_pj'].values()) * 1e-6:.4g}",
        )
        for each in content["layers"]
    ]
    header = ("layer", "matrix", "weights kept", "activations", "cycles", "of dense", "lanes busy", "uJ")
    return table(header, rows)


def _error(error: Mapping[str, Any]) -> str:
    return f"latency {error['latency']:+.1%}, energy {error['energy']:+.1%}: {error['of']}"
