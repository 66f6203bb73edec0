"""Which of llama.cpp's architectures a `transformers` model is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from autoprune.errors import InputError

__all__ = ["Architecture", "architecture_of"]


@dataclass(frozen=True)
class Architecture:
    """What llama.cpp computes under a name.

    Attributes:
        name: `general.architecture`.
        interleaved: Whether its rotary embedding turns neighbouring entries of a head (0 with 1, 2 with 3); that of
            `transformers` turns entry i with i + half a head, so the rows of queries and keys change their order.
        varied: The architecture that computes the same and allows blocks of different sizes, also without attention;
            None where there is none.
    """

    name: str
    interleaved: bool
    varied: str | None = None


# The formulas of these are equal; of others (gemma's norms, phi's parallel blocks) they are not.
_BY_MODEL_TYPE = {
    "llama": Architecture("llama", interleaved=True, varied="deci"),
    "mistral": Architecture("llama", interleaved=True, varied="deci"),
    "qwen2": Architecture("qwen2", interleaved=False),
}


def architecture_of(network: nn.Module) -> Architecture:
    """The architecture under which llama.cpp computes what the network computes.

    Raises:
        InputError: If there is none that we know; the message says why.
    """
    config: Any = getattr(network, "config", None)
    kind = getattr(config, "model_type", None)
    if kind not in _BY_MODEL_TYPE:
        known = ", ".join(sorted(_BY_MODEL_TYPE))
        raise InputError(f"GGUF is written for models of the types {known}, not for {kind or type(network).__name__}")
    obstacle = _obstacle(config)
    if obstacle:
        raise InputError(f"llama.cpp would compute something else than this model: {obstacle}")
    return _BY_MODEL_TYPE[kind]


def _obstacle(config: Any) -> str | None:
    """What in a config has no counterpart in the files that we write; None if nothing."""
    rope = getattr(config, "rope_parameters", None) or {}
    kind = rope.get("rope_type", "default")
    if kind not in ("default", "linear"):
        return f"its rotary positions are scaled by {kind!r}"
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        return "only a part of each head is rotated"
    if getattr(config, "hidden_act", "silu") not in ("silu", "swish"):
        return f"its activation is {config.hidden_act!r}"
    layers = getattr(config, "layer_types", None) or ()
    window = getattr(config, "sliding_window", None)
    if "sliding_attention" in layers or (window and not layers and getattr(config, "use_sliding_window", True)):
        return f"its attention sees a window of {window} tokens only"
    return None
