"""llama.cpp as a target: prefill and decode of a GGUF file, timed by the protocol of all targets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from autoprune.errors import InputError
from autoprune.hardware.targets.local import LocalTarget
from autoprune.hardware.timing.clocks import Clock, ProcessClock, WallClock
from autoprune.llm.llamacpp.server import Server, missing

__all__ = ["LlamaCppTarget", "Work"]


@dataclass(frozen=True)
class Work:
    """What is timed of a file.

    Attributes:
        path: The GGUF file.
        phase: "prefill": a prompt of `context` tokens, nothing known of it; "decode": `tokens` tokens behind it.
        context: Tokens of the prompt.
        tokens: Tokens that one call decodes.
    """

    path: str
    phase: str
    context: int
    tokens: int = 16

    def __post_init__(self) -> None:
        if self.phase not in ("prefill", "decode") or self.context < 1 or self.tokens < 1:
            raise InputError(f"llama.cpp times prefill or decode of 1 token and more, not {self}")

    def payload(self) -> bytes:
        """What travels to the worker."""
        return json.dumps(asdict(self)).encode()


class LlamaCppTarget(LocalTarget):
    """Stock llama.cpp on this machine's processor, through the prebuilt wheel of xllamacpp.

    A payload is a `Work`; its file stays where it is. One file is loaded once, however much of it is timed.
    """

    name = "llama.cpp"
    channel_multiple: ClassVar[int] = 32
    channel_multiple_reason: ClassVar[str] = "a block of its quantised types is 32 values"

    def __init__(self, *, threads: int = 1, precision: str | None = None, memory_format: str | None = None) -> None:
        super().__init__(threads=threads, precision=precision, memory_format=memory_format)
        self._servers: dict[str, Server] = {}

    def available(self) -> str | None:
        """None where xllamacpp can be imported."""
        return missing()

    def versions(self) -> dict[str, str]:
        """The binding's version, which names llama.cpp's build."""
        return {"runtime": "llama.cpp", "xllamacpp": metadata.version("xllamacpp")}

    def pack(self, model: nn.Module, example: Any) -> bytes:
        """Refuse: a file needs the tokenizer, too.

        Raises:
            InputError: Always.
        """
        raise InputError("llama.cpp times GGUF files of language models: autoprune llm, or llm.llamacpp.time_files")

    def load(self, payload: bytes) -> Callable[[], object]:
        """Inside the worker: one prefill, or one stretch of decoding."""
        work = Work(**json.loads(payload))
        room = work.context + work.tokens + 8
        key = f"{Path(work.path).absolute()}:{room}"
        if key not in self._servers:
            self._servers[key] = Server(work.path, room, self.threads)
        server, prompt = self._servers[key], [5 + place % 89 for place in range(work.context)]
        if work.phase == "prefill":
            return lambda: server.complete(prompt, 1)
        return lambda: server.complete(prompt, work.tokens, keep=True, end=False)

    def clock(self) -> Clock:
        """CPU time of the process for one thread: llama.cpp computes in a thread of its own."""
        return ProcessClock() if self.threads == 1 else WallClock()
