"""What is said of a dynamic network, in lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["DYNAMIC_SCHEMA", "dynamic_lines", "is_dynamic"]

DYNAMIC_SCHEMA = "autoprune.dynamic/1"
"""What `report.json` of such a run calls itself."""


_AGREE = 0.03  # prediction and stream that differ by no more say the same


def is_dynamic(content: Mapping[str, Any]) -> bool:
    """Whether a report is that of a network with early exits."""
    return content.get("schema") == DYNAMIC_SCHEMA


def dynamic_lines(content: Mapping[str, Any]) -> list[str]:
    """The report for people, in lines.

    Args:
        content: What `report.json` holds.
    """
    dense = content["dense"]
    lines = [f"dense    {dense['accuracy']:.2%}  {dense['latency_ms']:.4f} ms"]
    if not content["dynamic"]:
        return [*lines, *_static_lines(content)]
    lines.append(
        f"dynamic  {content['accuracy']:.2%}  mean {content['mean_latency_ms']:.4f} ms ({content['mean_share']:.1%} of"
        f" dense; predicted {content['predicted_share']:.1%}), p95 {content['p95_latency_ms']:.4f},"
        f" longest path {content['worst_latency_ms']:.4f}"
    )
    lines += _gap(content)
    for each in content["exits"]:
        right = (
            "" if each["accuracy"] is None else f", right {each['accuracy']:.2%} (dense {each['dense_accuracy']:.2%})"
        )
        lines.append(f"  {each['place']:<12} {each['share']:6.1%} leave, {each['path_ms']:.4f} ms{right}")
    lines += [
        f"within {each['deadline_ms']:.4f} ms  {each['accuracy']:.2%}, leaving at {each['place']} at the latest;"
        f" {each['kept']:.1%} of the calls kept it"
        for each in content.get("deadlines", ())
    ]
    lost = f"lost {100 * content['test_drop']:.2f} points on the test split; promised at most"
    return [*lines, *_static_lines(content), f"{lost} {100 * content['promised_drop']:.2f}"]


def _gap(content: Mapping[str, Any]) -> list[str]:
    """Where the stream took another time than paths and shares predict, if it is more than 3 %."""
    gap = content["mean_share"] / content["predicted_share"] - 1
    known = [each for each in content["exits"] if each.get("stream_ms") is not None]
    if abs(gap) <= _AGREE or not known:
        return []
    call = content.get("call_ms", 0.0)
    worst = max(known, key=lambda each: each["share"] * abs(each["stream_ms"] - each["path_ms"] - call))
    return [
        f"  the stream took {gap:+.1%} of what paths and shares predict, most of it at {worst['place']}:"
        f" {worst['stream_ms']:.4f} ms a call there, {worst['path_ms'] + call:.4f} timed alone"
    ]


def _static_lines(content: Mapping[str, Any]) -> list[str]:
    """What a static network does in the same mean time, and which of the two is handed over."""
    static, fixed = content.get("static"), content.get("fixed")
    if fixed is not None:
        took = f"{fixed['latency_ms']:.4f} ms ({fixed['latency_share']:.1%} of dense)"
        return [f"being dynamic gains nothing here: {fixed['name']} alone is kept, {fixed['accuracy']:.2%}, {took}"]
    if static is None:
        nothing = "being dynamic gains nothing here within the limits: the static network stays"
        return [] if content["dynamic"] else [nothing]
    if "reason" in static:
        return [f"no static network is as fast: {static['reason']}"]
    line = f"static   {static['accuracy']:.2%}  {static['latency_ms']:.4f} ms ({static['latency_share']:.1%} of dense)"
    if content["dynamic"]:
        return [line, *_cascade_lines(static.get("cascade"))]
    other = content["candidate"]
    return [line, f"dynamic  {other['accuracy']:.2%} at {other['mean_share']:.1%} of dense: the static network is kept"]


def _cascade_lines(cascade: Mapping[str, Any] | None) -> list[str]:
    """What the static network and the dense one do one after the other."""
    if cascade is None or "reason" in cascade:
        return [] if cascade is None else [f"cascade  of the static and the dense network: {cascade['reason']}"]
    return [
        f"cascade  {cascade['accuracy']:.2%}  {cascade['mean_share']:.1%} of dense: the static network answers"
        f" {cascade['share']:.1%}, the dense one the rest"
    ]
