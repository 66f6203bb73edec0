"""What is said of a network and its accelerator, in lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["CODESIGN_SCHEMA", "codesign_lines", "is_codesign"]

CODESIGN_SCHEMA = "autoprune.codesign/1"
"""What `report.json` of such a run calls itself."""


def is_codesign(content: Mapping[str, Any]) -> bool:
    """Whether a report is that of a network and its accelerator."""
    return content.get("schema") == CODESIGN_SCHEMA


def codesign_lines(content: Mapping[str, Any]) -> list[str]:
    """The report for people, in lines; every figure of a chip is simulated.

    Args:
        content: What `report.json` holds.
    """
    dense, tuned, chosen = content["dense"], content["finetuned"], content["chosen"]
    lines = [
        f"dense      {_figures(dense)}  on {content['fixed_chip']}",
        f"chosen     {_figures(content['pruned'])}  {chosen['pattern']}, {chosen['density']:.0%} of the weights",
        f"fine-tuned {_figures(tuned)}  on {chosen['hardware']} ({content['target']})",
    ]
    key = {"latency": "latency_ms", "energy": "energy_mj", "edp": "edp_mj_ms"}[content["objective"]]
    for name, points in content["baselines"].items():
        near = [each for each in points if _score(each) >= _score(chosen) - 1e-12]
        if near:
            best = min(near, key=lambda each: each[key])
            lines.append(
                f"  {name:<26} {best[key] / chosen[key]:.2f} times its {content['objective']} at no lower score"
            )
    return lines


def _figures(row: Mapping[str, Any]) -> str:
    score = f"{row['accuracy']:.2%}" if row.get("accuracy") is not None else f"{row.get('score', float('nan')):.4g}"
    return f"{score}  {row['latency_ms']:.4g} ms  {row['energy_mj']:.4g} mJ  {row['area_mm2']:.3g} mm2"


def _score(row: Mapping[str, Any]) -> float:
    return float(row["search_score"])
