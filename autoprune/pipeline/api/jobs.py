"""Jobs from Python that are no search of widths to a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from torch import nn

from autoprune.pipeline.api.running import whole_job
from autoprune.pipeline.calls import Call, JobKeywords, plannable
from autoprune.pipeline.jobs.base import Result
from autoprune.pipeline.jobs.codesign.settings import codesign_settings
from autoprune.pipeline.jobs.dynamic.settings import dynamic_settings
from autoprune.pipeline.jobs.lottery.job import lottery_settings
from autoprune.pipeline.jobs.quantize.settings import named_subject, quantize_settings
from autoprune.pipeline.jobs.registry import job_named
from autoprune.pipeline.jobs.settings import CODESIGN, DYNAMIC, LOTTERY, QUANTIZE, SPARSIFY
from autoprune.pipeline.jobs.sparsify.alone import masked_alone
from autoprune.pipeline.jobs.sparsify.chosen import sparsify_settings
from autoprune.pipeline.plan.base import Plan
from autoprune.run.directory import is_run

__all__ = ["codesign", "dynamic", "lottery", "quantize", "sparsify"]


@plannable
def sparsify(
    model: nn.Module | str | None = None,
    *,
    run: str | Path | None = None,
    dry_run: bool = False,
    **keywords: Unpack[JobKeywords],
) -> Result | Plan:
    """Set weights of a trained network to zero by a pattern, and train it to do without them.

    What is handed over and raised is as in `compress`; there is neither budget nor agent. With one-shot and a criterion
    that needs no data the loaders may be left out: only `example_input` is needed then, and nothing is scored or timed.

    Args:
        model: The trained network, left as it is; or a name.
        run: Folder that keeps the run; if it is not given, a temporary one.
        dry_run: Try everything of yours once, and give back the plan with its time; nothing is written.
        **keywords: As of `compress`. `pattern` is `2:4` (the default) and any N:M, `2:4-both`, `2:4/1:2`, `4x4:0.5`,
            `bank:4:0.75`, `column:8:0.75`, `kernel:0.5`, `filter:0.5`, `unstructured:0.9` or
            `unstructured:0.9-global`; `recipe` is `one-shot` (the default), `asp`, `gradual`, `sr-ste` or `regularised`
            (docs/sparsity.md); `criterion` may be `sparsegpt`, too. `permute=True` first puts units into an order in
            which N:M groups keep more.

    Returns:
        The network with its zeros, a policy that holds the masks, and a report.
    """
    call = Call.of(model, {"pattern": "2:4", "recipe": "one-shot", **keywords})
    if isinstance(call.handed.model, nn.Module) and call.handed.train is None and "data" not in keywords:
        return masked_alone(call.handed.model, call.handed.example_input, sparsify_settings(call.settings))
    return whole_job(call, sparsify_settings(call.settings), run, lambda _: job_named(SPARSIFY), dry_run=dry_run)


@plannable
def lottery(
    model: nn.Module | str | None = None,
    *,
    run: str | Path | None = None,
    dry_run: bool = False,
    **keywords: Unpack[JobKeywords],
) -> Result | Plan:
    """Look for lottery tickets: prune, rewind, train again, round by round, beside controls and over seeds.

    What is handed over and raised is as in `compress`; the settings are those of `autoprune lottery`: `rounds` (10),
    `rate` (0.2), `layer_rate`, `per` ("layer"), `rewind` (0), `seeds` (3), `controls` ("reinit,random"), `transfer`,
    `forms` and those of a training from scratch (`train_epochs`, `optimizer`, `lr`, ...). A network that is handed over
    says its architecture alone: every seed draws first weights of its own.

    Args:
        model: The network, left as it is; or a name.
        run: Folder that keeps the run; a temporary one if not given.
        dry_run: Try everything of yours once, and give back the plan with its time; nothing is written.
        **keywords: As of `compress`.

    Returns:
        The sparsest trained ticket that matches the dense network on the search split, its policy (the masks), and the
        report with every round and arm.
    """
    call = Call.of(model, {**keywords, "agent": LOTTERY})
    return whole_job(call, lottery_settings(call.settings), run, lambda _: job_named(LOTTERY), dry_run=dry_run)


@plannable
def dynamic(
    model: nn.Module | str | None = None,
    *,
    run: str | Path | None = None,
    dry_run: bool = False,
    **keywords: Unpack[JobKeywords],
) -> Result | Plan:
    """Give a trained network early exits that easy inputs leave through, verified on the target (docs/dynamic.md).

    What is handed over and raised is as in `compress`; a budget is not taken, and the limits are the settings
    `mean_latency`, `worst`, `p95`, `max_drop` and `exits`. The network itself is not trained: with its exits shut it
    gives the answers that it gave. Where exits gain nothing as timed it is handed back.

    Args:
        model: The trained network, or a name.
        run: Folder that keeps the run; without it nothing is kept.
        dry_run: Try everything of yours once, and give back the plan with its time; nothing is written.
        **keywords: As of `compress`.

    Returns:
        The dynamic network or the dense one, a policy that cuts nothing, and the report.
    """
    call = Call.of(model, keywords)
    return whole_job(call, dynamic_settings(call.settings), run, lambda _: job_named(DYNAMIC), dry_run=dry_run)


@plannable
def codesign(
    model: nn.Module | str | None = None,
    *,
    run: str | Path | None = None,
    dry_run: bool = False,
    **keywords: Unpack[JobKeywords],
) -> Result | Plan:
    """Search how much of each layer stays, and the accelerator that runs what stays, together (docs/codesign.md).

    What is handed over and raised is as in `compress`; the settings are those of `autoprune codesign`: `accelerator`
    ("eie"), `searched` ("pruning,hardware"), `area`, `objective` ("latency"), `at_most`, `accuracy_drop` (1.0),
    `agent`, `episodes`, `levels`, `chips`, `chip_first`, `vectors`. Every cost is simulated from the real masks and a
    sample of the network's activations.

    Args:
        model: The trained network, or a name.
        run: Folder that keeps the run; without it nothing is kept.
        dry_run: Try everything of yours once, and give back the plan with its time; nothing is written.
        **keywords: As of `compress`.

    Returns:
        The fine-tuned network with its zeros, a policy that holds the masks, and the report with the front, the
        baselines and the accelerator.
    """
    call = Call.of(model, keywords)
    return whole_job(call, codesign_settings(call.settings), run, lambda _: job_named(CODESIGN), dry_run=dry_run)


@plannable
def quantize(
    model: nn.Module | str | Path | None = None,
    *,
    run: str | Path | None = None,
    dry_run: bool = False,
    **keywords: Unpack[JobKeywords],
) -> Result | Plan:
    """Bring a trained network to eight bits, verified on the target (docs/quantization.md).

    What is handed over and raised is as in `compress`; there is no budget. Its own settings are `tolerance` (0.3),
    `types`, `scales`, `ranges` and `calibration_images` (256); `qat=True` also trains with integers, nothing is trained
    without. Where integers are not faster, or lose more than the tolerance, 16 bits are handed over if the target
    proves them faster, else float32: `report["handed_over"]` and `report["reason"]`.

    Args:
        model: The trained network, a name, or the folder of a finished run, whose network is taken.
        run: Folder that keeps the run; a temporary one if not given.
        dry_run: Try everything of yours once, and give back the plan with its time; nothing is written.
        **keywords: As of `compress`.

    Returns:
        The network as an ONNX file that can be called (`autoprune.export.onnx_network.OnnxNetwork`), the policy that
        it was pruned by, and the report.
    """
    settings: dict[str, Any] = {**keywords, "agent": QUANTIZE}
    if isinstance(model, Path) or (isinstance(model, str) and is_run(Path(model))):
        named = named_subject(str(model))
        model, settings = named.pop("model"), named | settings
    call = Call.of(str(model) if isinstance(model, Path) else model, settings)
    return whole_job(call, quantize_settings(call.settings), run, lambda _: job_named(QUANTIZE), dry_run=dry_run)
