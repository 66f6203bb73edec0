"""What is said of a network and its accelerator, in lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.run.score import ScoreSpec
from autoprune.run.trainings import TrainingOutcome, outcome_lines

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
    spec = ScoreSpec.of_fields(content.get("score_name"), content.get("direction"), content.get("score_format"))
    lines += outcome_lines((TrainingOutcome(**each) for each in content["fine_tuning"]), spec)
    limit = content.get("limit")
    if limit is not None and not limit["met"]:
        lines.append(
            f"the limit of {limit['value']:.4g} {content['unit']} is not met: fine-tuned, it takes"
            f" {limit['finetuned']:.4g}, as fewer of its activations are zero than the search took; give less --at-most"
        )
    if tuned["accuracy"] is not None:
        allowed = dense["search_score"] - content["accuracy_drop"] / 100
        lines += [_beside(name, points, content, allowed) for name, points in content["baselines"].items()]
    return lines


def _beside(name: str, points: Sequence[Mapping[str, Any]], content: Mapping[str, Any], allowed: float) -> str:
    """What a baseline takes of the objective where it loses no more than allowed on the search split."""
    key = {"latency": "latency_ms", "energy": "energy_mj", "edp": "edp_mj_ms"}[content["objective"]]
    able = [float(each[key]) for each in points if each["search_score"] >= allowed]
    taken = f"{min(able) / content['chosen'][key]:.2f} times its {content['objective']}" if able else "loses more"
    return f"  {name:<26} {taken}"


def _figures(row: Mapping[str, Any]) -> str:
    score = f"{row['accuracy']:.2%}" if row.get("accuracy") is not None else f"{row.get('score', float('nan')):.4g}"
    return f"{score}  {row['latency_ms']:.4g} ms  {row['energy_mj']:.4g} mJ  {row['area_mm2']:.3g} mm2"
