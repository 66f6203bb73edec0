"""One model in llama.cpp, inside a worker process: through the package xllamacpp, whose wheel is stock llama.cpp."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from typing import Any

from autoprune.errors import TargetError

__all__ = ["Server", "missing"]


def missing() -> str | None:
    """None where llama.cpp can be used, else what is missing and how to get it."""
    try:
        import xllamacpp  # noqa: F401 - whether it loads is the question
    except ImportError as error:
        return f"{error}; install it with: pip install 'autoprune[llm]'"
    return None


class Server:
    """A model that is loaded, with one place for a text.

    Args:
        path: A GGUF file.
        context: Tokens that it has room for.
        threads: It may use.
        fine: Whether attention is computed in f32; by default llama.cpp keeps keys and values in f16, and its fused
            attention rounds to f16, too.

    Raises:
        TargetError: If llama.cpp does not load it.
    """

    def __init__(self, path: str, context: int, threads: int, *, fine: bool = False) -> None:
        import xllamacpp

        given = xllamacpp.CommonParams()
        given.model.path = path
        given.n_ctx, given.n_parallel = context, 1
        given.n_batch = given.n_ubatch = min(512, context)
        given.cpuparams.n_threads = given.cpuparams_batch.n_threads = threads
        given.warmup, given.fit_params, given.verbosity, given.cache_ram_mib = False, False, 0, 0
        if fine:
            given.cache_type_k = given.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            given.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        try:
            self._server = xllamacpp.Server(given)
        except RuntimeError as error:
            raise TargetError(f"llama.cpp does not load {path}: {error}") from error

    def complete(
        self, prompt: Sequence[int], predict: int, *, likeliest: int = 0, keep: bool = False, end: bool = True
    ) -> dict[str, Any]:
        """The greedy continuation of a prompt.

        Args:
            prompt: Token ids.
            predict: How many tokens to add, at least 1.
            likeliest: How many tokens to report with their log-probabilities at each place.
            keep: Whether what is known of the prompt from the request before is used, all but its last token.
            end: Whether an end-of-text token ends it.

        Raises:
            TargetError: If llama.cpp answers with an error.
        """
        # The default chain of samplers would raise probabilities of tokens not said yet; temperature alone is greedy.
        request = {"prompt": list(prompt), "n_predict": predict, "temperature": 0.0, "samplers": ["temperature"]}
        request |= {"n_probs": likeliest, "cache_prompt": keep, "ignore_eos": not end, "return_tokens": True}
        found = self._server.handle_completions(request)
        answer: dict[str, Any] = json.loads(found) if isinstance(found, str) else found
        if "error" in answer or "choices" not in answer:
            raise TargetError(f"llama.cpp refused a prompt of {len(prompt)} tokens: {str(answer)[:200]}")
        return answer

    def tokens(self, text: str) -> list[int]:
        """How llama.cpp cuts a text into tokens; names of special tokens in it are text."""
        body = json.dumps({"content": text, "add_special": False, "parse_special": False}).encode()
        address = f"{self._server.listening_address}/tokenize"
        asked = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return [int(token) for token in json.loads(answer.read())["tokens"]]
