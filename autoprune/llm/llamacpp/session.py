"""A GGUF file loaded by llama.cpp in a process of its own, and asked."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from autoprune.errors import TargetError
from autoprune.hardware.timing.json_lines import JsonLinesProcess
from autoprune.llm.llamacpp.server import missing

__all__ = ["Continuation", "LlamaCpp"]

_PATIENCE = 300.0  # seconds for one answer


class Continuation(NamedTuple):
    """What a model adds to a prompt, always the likeliest token.

    Attributes:
        ids: The tokens.
        likeliest: At each place the likeliest tokens with their log-probabilities (natural), falling.
    """

    ids: list[int]
    likeliest: list[dict[int, float]]


class LlamaCpp:
    """A model in llama.cpp. A context manager: its process ends with it.

    Args:
        path: A GGUF file.
        context: Tokens that it has room for.
        threads: It may use.
        fine: Whether attention is computed in f32, so that what is compared with PyTorch is the file; by default
            llama.cpp keeps keys and values in f16.
    """

    def __init__(self, path: Path | str, context: int = 512, threads: int = 1, *, fine: bool = True) -> None:
        self._hello = {"path": str(Path(path).absolute()), "context": context, "threads": threads, "fine": fine}
        self._stack = ExitStack()

    def __enter__(self) -> LlamaCpp:
        lacking = missing()
        if lacking is not None:
            raise TargetError(f"target 'llama.cpp' is not available here: {lacking}")
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        command = [sys.executable, "-c", "from autoprune.llm.llamacpp.worker import main; main()"]
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(self._hello["threads"])}
        with ExitStack() as stack:
            process = JsonLinesProcess(
                "llama.cpp", command, patience=_PATIENCE, environment=environment, what="the worker process"
            )
            self._process = stack.enter_context(process)
            self._process.ask(self._hello, "ready")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def greedy(self, prompt: Sequence[int], predict: int, likeliest: int = 1) -> Continuation:
        """The likeliest continuation of a prompt.

        Args:
            prompt: Token ids.
            predict: How many tokens to add.
            likeliest: How many tokens to report at each place.

        Raises:
            TargetError: If llama.cpp failed.
        """
        request = {"prompt": [int(i) for i in prompt], "predict": predict, "likeliest": likeliest}
        answer = self._process.answer(request, "likeliest")
        return Continuation(answer["ids"], [{int(i): float(p) for i, p in place} for place in answer["likeliest"]])

    def tokens(self, text: str) -> list[int]:
        """How llama.cpp cuts a text into tokens."""
        return [int(token) for token in self._process.ask({"text": text}, "tokens")]

    def peak_memory_mb(self) -> float | None:
        """The most memory that its process has had resident, in MiB; the pages of the file that it maps among them."""
        found = self._process.ask({"memory": True}, "peak_mb")
        return None if found is None else float(found)
