"""What is said of a network with early exits, in lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["DYNAMIC_SCHEMA", "dynamic_lines", "is_dynamic"]

DYNAMIC_SCHEMA = "autoprune.dynamic/1"
"""What `report.json` of such a run calls itself."""


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
        return [*lines, "exits gain nothing here within the limits: the static network stays"]
    lines.append(
        f"dynamic  {content['accuracy']:.2%}  mean {content['mean_latency_ms']:.4f} ms ({content['mean_share']:.1%} of"
        f" dense; predicted {content['predicted_share']:.1%}), p95 {content['p95_latency_ms']:.4f},"
        f" longest path {content['worst_latency_ms']:.4f}"
    )
    for each in content["exits"]:
        right = (
            "" if each["accuracy"] is None else f", right {each['accuracy']:.2%} (dense {each['dense_accuracy']:.2%})"
        )
        lines.append(f"  {each['place']:<12} {each['share']:6.1%} leave, {each['path_ms']:.4f} ms{right}")
    lines.append(
        f"lost {100 * content['test_drop']:.2f} points on the test split; promised at most"
        f" {100 * content['promised_drop']:.2f}"
    )
    return lines
