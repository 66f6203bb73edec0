"""Pictures of a network and its accelerator: the front, load, energy, roofline, and where cycles go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autoprune.reports.figures._matplotlib import LIGHT, Figure, Palette, legend, new_figure

__all__ = [
    "energy_figure",
    "front_figure",
    "index_figure",
    "ladder_figure",
    "load_figure",
    "queue_figure",
    "roofline_figure",
]

_KEYS = {"latency": ("latency_ms", "ms"), "energy": ("energy_mj", "mJ"), "edp": ("edp_mj_ms", "mJ ms")}

# By marker and line as well as by colour, so that a page without colour can be read.
_STYLES = (("s", "--"), ("^", "-."), ("v", ":"), ("P", "--"), ("x", ":"))
_SHADES = ("#2f6fb3", "#c2410c", "#0f8a5f", "#8250df", "#b08800", "#57606a", "#cf222e", "#1b7c83")


def front_figure(report: Mapping[str, Any], palette: Palette = LIGHT) -> Figure:
    """Score over the objective: the joint search, every baseline, the dense network, the chosen point.

    Args:
        report: What `report.json` holds.
        palette: The colours.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure, (axes,) = new_figure(8.4, 4.4, palette)
    key, unit = _KEYS[report["objective"]]
    for (name, points), (marker, line), shade in zip(report["baselines"].items(), _STYLES, _SHADES[1:], strict=False):
        _curve(axes, points, key, marker + line, shade, name)
    _curve(axes, report["front"], key, "o-", palette.kept, "joint")
    dense, chosen = report["dense"], report["chosen"]
    axes.plot([dense[key]], [_score(dense)], "D", color=palette.ink, markersize=6, label="dense, fixed chip")
    axes.plot([chosen[key]], [_score(chosen)], "*", color=palette.chosen, markersize=13, label="chosen")
    axes.set_xscale("log")
    axes.set_xlabel(f"{report['objective']} of a call in {unit}, simulated")
    axes.set_ylabel("accuracy in %" if chosen["accuracy"] is not None else "score")
    legend(axes, palette, loc="best", ncols=2)
    return figure


def _curve(axes: Any, points: Sequence[Mapping[str, Any]], key: str, style: str, colour: str, label: str) -> None:
    drawn = sorted((each[key], _score(each)) for each in points)
    if drawn:
        axes.plot(*zip(*drawn, strict=True), style, color=colour, markersize=4, linewidth=1, label=label)


def _score(row: Mapping[str, Any]) -> float:
    return float(row["score"]) if row.get("accuracy") is None else 100 * float(row["accuracy"])


def load_figure(report: Mapping[str, Any], palette: Palette = LIGHT) -> Figure:
    """Fullest, mean and emptiest processing element of every layer."""
    layers = report["layers"]
    figure, (axes,) = new_figure(8.4, 3.2, palette)
    places = np.arange(len(layers))
    for name, marker, shade in (
        ("most", "^", palette.limit),
        ("mean", "o", palette.kept),
        ("least", "v", palette.dense),
    ):
        axes.plot(places, [max(each["load"][name], 0.5) for each in layers], marker, color=shade, label=name)
    axes.set_yscale("log")
    axes.set_ylabel("kept weights of an element")
    _name_layers(axes, layers)
    legend(axes, palette, loc="best", ncols=3)
    return figure


def index_figure(report: Mapping[str, Any], palette: Palette = LIGHT) -> Figure:
    """Bits of index for each kept weight of every layer, by encoding, and the entropy bound of a random mask."""
    layers = [each for each in report["layers"] if each["density"] < 1]
    figure, (axes,) = new_figure(8.4, 3.2, palette)
    places = np.arange(len(layers))
    names = list(dict.fromkeys(name for each in layers for name in each["index_bits"]))
    for (number, name), marker in zip(enumerate(names), "_os^v", strict=False):
        values = [each["index_bits"][name] for each in layers]
        drawn = [(place, bits) for place, bits in zip(places, values, strict=True) if bits is not None]
        if drawn:
            axes.plot(*zip(*drawn, strict=True), marker, color=_SHADES[number], markersize=6, label=name)
    axes.set_ylabel("bits of index a weight")
    _name_layers(axes, layers)
    legend(axes, palette, loc="best", ncols=2)
    return figure


def queue_figure(report: Mapping[str, Any], palette: Palette = LIGHT) -> Figure:
    """Share of the lane-cycles that are useful, over the depth of the queues."""
    figure, (axes,) = new_figure(8.4, 2.8, palette)
    drawn = [(each["depth"], 100 * each["utilisation"]) for each in report["queues"]]
    axes.plot(*zip(*drawn, strict=True), "o-", color=palette.kept)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("slots of a queue")
    axes.set_ylabel("lanes busy in %")
    return figure


def energy_figure(report: Mapping[str, Any], palette: Palette = LIGHT) -> Figure:
    """Energy of every layer, stacked by component."""
    layers = report["layers"]
    components = sorted({name for each in layers for name in each["energy_pj"]})
    rows = {name: np.array([each["energy_pj"].get(name, 0.0) * 1e-6 for each in layers]) for name in components}
    return _stacked(layers, rows, "energy in uJ", palette)


def ladder_figure(report: Mapping[str, Any], palette: Palette = LIGHT) -> Figure:
    """Shares of the lane-cycles of every layer: useful work, then what each cause loses."""
    layers = report["layers"]
    causes = list(dict.fromkeys(name for each in layers for name in each["stalls"]))
    rows = {"useful": np.array([100 * each["utilisation"] for each in layers])}
    rows |= {name: np.array([100 * each["stalls"].get(name, 0.0) for each in layers]) for name in causes}
    return _stacked(layers, rows, "lane-cycles in %", palette)


def _stacked(
    layers: Sequence[Mapping[str, Any]], rows: Mapping[str, np.ndarray[Any, Any]], label: str, palette: Palette
) -> Figure:
    figure, (axes,) = new_figure(8.4, 3.6, palette)
    places, below = np.arange(len(layers)), np.zeros(len(layers))
    for number, (name, values) in enumerate(rows.items()):
        axes.bar(places, values, bottom=below, color=_SHADES[number % len(_SHADES)], label=name)
        below = below + values
    axes.set_ylabel(label)
    axes.set_ylim(0, 1.25 * float(below.max(initial=0.0)) or 1.0)  # the legend stands above
    _name_layers(axes, layers)
    legend(axes, palette, loc="best", ncols=3)
    return figure


def roofline_figure(report: Mapping[str, Any], palette: Palette = LIGHT) -> Figure:
    """Useful multiply-accumulates a cycle over those a byte of every layer, and the most that there are."""
    layers = [each for each in report["layers"] if each["cycles"] and sum(each["bytes"].values())]
    figure, (axes,) = new_figure(8.4, 3.6, palette)
    kept = np.array([each["kept_macs"] for each in layers], dtype=float)
    moved = np.array([sum(each["bytes"].values()) for each in layers])
    cycles = np.array([each["cycles"] for each in layers])
    axes.plot(kept / moved, kept / cycles, "o", color=palette.kept, label="kept weights")
    dense = np.array([each["macs"] for each in layers], dtype=float)
    axes.plot(dense / moved, dense / cycles, "s", color=palette.dense, label="as if dense: speed that zeros bring")
    axes.axhline(report["chosen"]["lanes"], color=palette.limit, linewidth=1, label="lanes of the chip")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("multiply-accumulates for each byte moved")
    axes.set_ylabel("a cycle")
    legend(axes, palette, loc="best", ncols=2)
    return figure


def _name_layers(axes: Any, layers: Sequence[Mapping[str, Any]]) -> None:
    axes.set_xticks(np.arange(len(layers)), [each["name"] for each in layers], rotation=60, ha="right", size=7)
    for label in axes.get_xticklabels():
        label.set_parse_math(False)
