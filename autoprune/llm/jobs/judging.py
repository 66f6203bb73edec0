"""On which texts models are judged, and how: always two domains, and never the calibration text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoprune.errors import InputError
from autoprune.llm.blocks.shards import Shards
from autoprune.llm.blocks.storage import BlockStorage
from autoprune.llm.evaluation.by_blocks import perplexity_by_blocks
from autoprune.llm.evaluation.perplexity import Reading, perplexity
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.models.load import load_language_model
from autoprune.llm.openvino import is_openvino_folder, load_openvino
from autoprune.llm.texts import Text, read_text, reference_prose
from autoprune.pipeline.reporter import Reporter

__all__ = ["judged", "model_to_judge", "texts_to_judge"]

_DOMAINS = 2


def texts_to_judge(paths: Sequence[str], calibration: Text | None = None) -> list[Text]:
    """The texts at these places; English reference prose beside them where they are fewer than two.

    Args:
        paths: Files or folders.
        calibration: What the method learned from, which no model is judged on.

    Raises:
        InputError: If a text cannot be read, or lies in the calibration text.
    """
    texts = [read_text(path) for path in paths]
    for text in texts:
        common = sorted(set(text.files) & set(() if calibration is None else calibration.files))
        if common:
            raise InputError(
                f"{common[0].name} is calibration text; a model that has seen it cannot be judged on it: give another"
                " --text"
            )
    names = [text.name for text in texts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two texts are called {twice[0]}; rename one of them")
    return texts if len(texts) >= _DOMAINS else [*texts, reference_prose()]


def model_to_judge(spec: str) -> LanguageModel:
    """The model that a text names; of a folder that was written for OpenVINO, what OpenVINO computes of it.

    Raises:
        InputError: If there is no such model, or it cannot be read.
    """
    path = Path(spec)
    return load_openvino(path, spec) if is_openvino_folder(path) else load_language_model(spec)


def judged(
    model: LanguageModel,
    texts: Sequence[Text],
    reading: Reading,
    reporter: Reporter,
    what: str,
    storage: BlockStorage | None = None,
) -> list[dict[str, Any]]:
    """The perplexities of a model, as plain values.

    Args:
        model: In evaluation mode.
        texts: What it is judged on.
        reading: Context, stride, tokens.
        reporter: Shows a stage for each text.
        what: The model for people: "the dense model".
        storage: Its blocks, where they are not all in memory.

    Raises:
        InputError: If a text is too short, or the predictions are not finite.
    """
    rows = []
    for text in texts:
        with reporter.stage("evaluate", f"{what} reads {text.name}") as bar:
            if isinstance(storage, Shards):
                score = perplexity_by_blocks(model, storage, text, reading, bar)
            else:
                score = perplexity(model, text, reading, bar)
        rows.append(asdict(score))
    return rows
