"""What is reported of a model beside its perplexity: parameters, zeros, bytes, memory, and what it writes."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

import torch

from autoprune.llm.blocks.storage import opened
from autoprune.llm.models.base import LanguageModel
from autoprune.models.precision import device_of

__all__ = ["counts_in", "peak_mib", "sample"]

_PROMPT, _WRITTEN = 24, 40  # tokens of a generation sample


def counts_in(folder: Path) -> dict[str, int]:
    """Parameters, zeros and bytes of the safetensors files in a folder; tied weights count once."""
    params = zeros = size = 0
    for file in sorted(folder.glob("*.safetensors")):
        size += file.stat().st_size
        with opened(file) as content:
            for name in content.keys():  # noqa: SIM118 - no mapping
                tensor = content.get_tensor(name)
                params += tensor.numel()
                zeros += int((tensor == 0).sum())
    return {"params": params, "zeros": zeros, "bytes": size}


def peak_mib() -> float:
    """The most memory that this process has had, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024 * 1024 if sys.platform == "darwin" else 1024)


@torch.no_grad()
def sample(model: LanguageModel, text: Any) -> dict[str, str]:
    """How a model goes on with the beginning of a text, by its likeliest tokens."""
    ids = text.tokens(model.tokenizer, _PROMPT)[None]
    network: Any = model.network
    places = ids.to(device_of(network))
    written = network.generate(
        input_ids=places, attention_mask=torch.ones_like(places), do_sample=False, max_new_tokens=_WRITTEN,
        pad_token_id=model.tokenizer.eos_token_id,
    )[0, ids.shape[1] :]  # fmt: skip
    return {"prompt": model.tokenizer.decode(ids[0]), "continuation": model.tokenizer.decode(written)}
