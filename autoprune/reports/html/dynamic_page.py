"""The page of a run of `autoprune dynamic`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.reports.dynamic import dynamic_lines
from autoprune.reports.figures.dynamic import classes_figure, curves_figure, extremes_figure, reliability_figure
from autoprune.reports.format import NONE, flat, milliseconds, percent, plain
from autoprune.reports.html.rendering import Picture, Table, picture, render, table

__all__ = ["dynamic_page"]


@dataclass(frozen=True)
class _Exits:
    """What there is to see of a network that leaves early; parts are None where a report of an older run lacks them."""

    times: Table
    paths: Table
    curves: Picture | None
    classes: Picture | None
    reliability: Picture | None
    extremes: Picture | None
    shift: Table | None
    static: Table | None
    deadlines: Table | None


def dynamic_page(name: str, content: Mapping[str, Any]) -> str:
    """The page of a run of `dynamic`, by its name and what `report.json` holds."""
    dense, last = content["dense"], dynamic_lines(content)[-1]
    about = {key: content[key] for key in ("model", "data", "target", "settings")}
    return render(
        "dynamic.html",
        title=f"autoprune dynamic: {name}",
        verdict=last[:1].upper() + last[1:],
        dense=f"The dense network: {percent(dense['accuracy'], 2)}, {milliseconds(dense['latency_ms'])} ms",
        exits=_exits(content) if content["dynamic"] else None,
        instead=None if content["dynamic"] else _instead(content),
        places=_offered(content),
        episodes=content["settings"].get("static_episodes"),
        epochs=content["settings"].get("static_epochs"),
        settings=table(("name", "value"), [(name, plain(value)) for name, value in flat(about)], words=2),
    )


def _exits(content: Mapping[str, Any]) -> _Exits:
    def drawn(key: str, draw: Any, caption: str) -> Picture | None:
        return picture(lambda palette: draw(content, palette), caption) if content.get(key) else None

    return _Exits(
        _times(content),
        _paths(content["exits"]),
        drawn(
            "curves",
            curves_figure,
            "Accuracy on the test split over mean time. solved: thresholds of least time for one promised loss after"
            " another, chosen on the search split; uniform: one threshold for all exits; random: exits drawn with the"
            " same shares, whatever the heads say; static: the best static network found; cascade: that one first, and"
            " the dense one where it is not sure.",
        ),
        drawn("exits_by_class", classes_figure, "Of each class's inputs of the test split, the share on each path."),
        drawn(
            "reliability",
            reliability_figure,
            "Accuracy of each exit's head on all inputs of the test split over its largest probability, in bins; on the"
            " line both agree.",
        ),
        drawn(
            "extremes",
            extremes_figure,
            "Above the easiest of the search split's first thousand images: they take the shortest path, and are surest"
            " there; below the hardest: they take the longest, and are least sure. Of each its path, its class or what"
            " it is taken for, and the largest probability.",
        ),
        _shift(content) if content.get("shift") else None,
        _static(content, content["static"]) if (content.get("static") or {}).get("accuracy") else None,
        _deadlines(content["deadlines"]) if content.get("deadlines") else None,
    )


def _instead(content: Mapping[str, Any]) -> Table:
    """The static network that is handed over, and the dynamic one that was timed and is not."""
    known = [("handed over", content), ("dynamic", content.get("candidate"))]
    rows = [
        (name, percent(each["accuracy"], 2), milliseconds(each["mean_latency_ms"]), percent(each["mean_share"], 1))
        for name, each in known
        if each is not None
    ]
    return table(("network", "accuracy", "mean time, ms", "of dense"), rows)


def _static(content: Mapping[str, Any], static: Mapping[str, Any]) -> Table:
    """The two networks of one mean time."""
    rows = [
        ("with exits", percent(content["accuracy"], 2), percent(content["mean_share"], 1)),
        ("static", percent(static["accuracy"], 2), percent(static["latency_share"], 1)),
    ]
    cascade = static.get("cascade") or {}
    if "accuracy" in cascade:
        rows.append(("static, then dense", percent(cascade["accuracy"], 2), percent(cascade["mean_share"], 1)))
    return table(("network", "accuracy", "mean time, of dense"), rows)


def _deadlines(rows: Sequence[Mapping[str, Any]]) -> Table:
    """What is right by each deadline."""
    found = [
        (
            milliseconds(row["deadline_ms"]),
            row["place"],
            percent(row["accuracy"], 2),
            percent(row["kept"], 1),
            ", ".join(f"{threshold:.4g}" for threshold in row["thresholds"]),
        )
        for row in rows
    ]
    return table(("deadline, ms", "leaves at the latest at", "accuracy", "calls that kept it", "thresholds"), found)


def _times(content: Mapping[str, Any]) -> Table:
    """Predicted and measured, beside the dense network."""
    whole, stream = content["dense"]["stream"], content["stream"]
    rows = [
        (name, milliseconds(whole[name]), (milliseconds(stream[name]), percent(stream[name] / whole[name], 1)))
        for name in ("mean", "p50", "p95", "p99")
    ]
    base = content["dense"]["latency_ms"]
    for words, key in (("longest path", "worst_latency_ms"), ("mean, predicted", "predicted_mean_latency_ms")):
        rows.append((words, milliseconds(base), (milliseconds(content[key]), percent(content[key] / base, 1))))
    return table(("ms", "dense", "with exits"), rows)


def _paths(exits: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (
            each["place"],
            NONE if each["threshold"] is None else f"{each['threshold']:.4f}",
            percent(each["share"], 1),
            percent(each["expected_share"], 1),
            NONE if each["accuracy"] is None else percent(each["accuracy"], 2),
            NONE if each["dense_accuracy"] is None else percent(each["dense_accuracy"], 2),
            milliseconds(each["path_ms"]),
        )
        for each in exits
    ]
    header = ("leave at", "threshold", "test split", "search split", "accuracy there", "dense on the same", "path, ms")
    return table(header, rows)


def _shift(content: Mapping[str, Any]) -> Table:
    """Changed inputs, thresholds as they are."""
    rows = [
        (
            each["inputs"],
            percent(each["accuracy"], 1),
            percent(each["dense_accuracy"], 1),
            *(percent(share, 1) for share in each["shares"]),
            {True: "yes", False: "no", None: NONE}[each.get("noticed")],
        )
        for each in content["shift"]
    ]
    return table(("inputs", "accuracy", "dense", *(each["place"] for each in content["exits"]), "warns"), rows)


def _offered(content: Mapping[str, Any]) -> Table:
    """What there was to choose from: places of exits, or widths, with what each takes alone."""
    dense = content["dense"]["latency_ms"]
    if "widths" in content:
        rows = [
            (each["name"], percent(each["ms"] / dense, 1), percent(each["accuracy"], 2)) for each in content["widths"]
        ]
        return table(("width", "time with the gate, of dense", "accuracy of all inputs"), rows)
    if "gated_layers" in content:
        rows = [
            (
                each["name"],
                *(percent(each[key] / dense, 1) for key in ("quarter", "half", "prepared")),
                each["fastest"],
                _share(each["break_even"]),
            )
            for each in content["gated_layers"]
        ]
        header = ("layer", "a quarter gathered, of dense", "half gathered", "half prepared", "fastest", "pays up to")
        return table(header, rows)
    if "blocks" in content:
        rows = [
            (each["name"], percent(each["saves_ms"] / dense, 1), _share(each["break_even"]))
            for each in content["blocks"]
        ]
        return table(("block", "skipping it saves, of dense", "its gate pays from, of the inputs"), rows)
    times = content["place_ms"]
    rows = [
        (place["name"], percent(leaves / dense, 1), percent(passed / dense, 1))
        for place, leaves, passed in zip(content["places"], times["leaves"], times["passed"], strict=True)
    ]
    return table(("exit behind", "who leaves takes, of dense", "who goes on takes more, of dense"), rows)


def _share(share: float | None) -> str:
    """A share of the inputs, if there is one that is enough."""
    return "never" if share is None else percent(share, 1)
