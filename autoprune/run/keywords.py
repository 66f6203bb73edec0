"""The settings as keywords of the Python functions: the same names, what they mean is documented in `run.settings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from autoprune.run.experiment import BUDGETS, Experiment

__all__ = ["SettingKeywords", "merged_settings"]


class SettingKeywords(TypedDict, total=False):
    """Every setting but those that Python can be handed as objects, the run and, as `latency<=50%`, the budget."""

    weights: str | Path | None
    data: str
    data_dir: str | Path | None
    score: str | None
    direction: Literal["maximize", "minimize"]
    score_format: str | None
    inputs: str | Sequence[str]
    target: str
    threads: int
    precision: Literal["f32", "bf16", "f16", "int8"] | None
    memory_format: Literal["contiguous", "channels_last"] | None
    target_batch: int
    timing: Literal["quick", "normal", "careful"]
    table: str | Path | None
    latency: str | Sequence[str] | None
    flops: str | Sequence[str] | None
    params: str | Sequence[str] | None
    energy: str | Sequence[str] | None
    accuracy_drop: float | None
    agent: str | Sequence[str]
    episodes: int
    warmup: int | None
    fidelity: Literal["racing", "full"]
    batch: int | None
    workers: int
    storage: str | None
    study: str | None
    lease: float
    ray: str | None
    front: bool
    warm_start: str | Path | None
    granularity: int | str | None
    criterion: str
    candidate_weights: str
    elastic_epochs: int
    techniques: str
    skip: str | Sequence[str]
    kinds: str | Sequence[str]
    cap: str | Sequence[str]
    tie: str | Sequence[str]
    step: str
    step_decay: float
    step_epochs: int
    step_batches: int | None
    pattern: str
    sparse_recipe: Literal["one-shot", "asp", "gradual", "sr-ste", "regularised"]
    permute: bool
    permute_seconds: float
    train_baselines: bool
    weight_update: Literal["none", "sparsegpt"]
    masks: str | None
    layout: Literal["dense", "compressed"]
    rounds: int
    rate: float
    layer_rate: str | Sequence[str]
    per: Literal["layer", "global"]
    rewind: int
    seeds: int
    controls: str | Sequence[str]
    stacked: Literal["auto", "yes", "no"]
    stability: str | int | Sequence[int] | None
    transfer: str | Sequence[str]
    forms: str | Sequence[str]
    form_rounds: str | Sequence[int]
    method: str
    widths: str
    active: str
    dynamic_epochs: int
    mean_latency: str | None
    worst: str
    p95: str | None
    max_drop: float
    anytime: bool
    confidence: str
    static_episodes: int
    static_epochs: int
    exits: int
    head_epochs: int
    head_samples: int
    accelerator: str | Sequence[str]
    searched: str | Sequence[str]
    area: str | None
    objective: Literal["latency", "energy", "edp"]
    at_most: str | None
    chips: int
    levels: int
    chip_first: bool
    vectors: int
    tolerance: float
    types: str
    scales: Literal["channel", "tensor"]
    ranges: Literal["auto", "minmax", "percentile", "mse", "entropy"]
    calibration_images: int
    qat: bool
    from_run: str | Path | None
    train_epochs: int | None
    finetune_epochs: int | None
    schedule: Literal["one-shot", "iterative", "cubic"]
    schedule_steps: int
    finalists: int
    finetune_seeds: int
    batch_size: int
    train_threads: int | None
    device: str
    time_limit: str | float | None
    recipe: Literal["plain", "default", "strong"]
    label_smoothing: float | None
    distil: float | None
    distil_features: float | None
    ema: float | None
    mixup: float | None
    slim: float
    optimizer: str | None
    lr: float | None
    weight_decay: float | None
    warmup_epochs: float | None
    clip: float | None
    seed: int


def merged_settings(
    settings: Experiment | Mapping[str, Any] | str | Path | None, keywords: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings as a Python program gives them, in one mapping: a keyword wins, and a budget replaces the other's.

    Args:
        settings: An experiment, of which only what was set counts; a mapping; or an experiment file.
        keywords: Single settings.

    Raises:
        InputError: If the file cannot be read or holds wrong settings.
    """
    if settings is None or isinstance(settings, Mapping):
        given = {str(name).replace("-", "_"): value for name, value in (settings or {}).items()}
    else:
        whole = settings if isinstance(settings, Experiment) else Experiment.read(settings, {})
        given = whole.model_dump(exclude_unset=True)
    if any(keywords.get(kind) is not None for kind in BUDGETS):
        given = {name: value for name, value in given.items() if name not in BUDGETS}
    merged = given | dict(keywords)
    return {name: str(value) if isinstance(value, Path) else value for name, value in merged.items()}
