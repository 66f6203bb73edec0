"""How fast llama.cpp runs several files, all interleaved in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoprune.hardware.contract.protocol import Measurement, Protocol
from autoprune.llm.llamacpp.target import LlamaCppTarget, Work

__all__ = ["Speed", "time_files", "time_phase"]


@dataclass(frozen=True)
class Speed:
    """One file's speed.

    Attributes:
        context: Tokens of the prompt.
        prefill: Of all of them.
        decode: Of `tokens` tokens behind them.
        tokens: How many.
    """

    context: int
    prefill: Measurement
    decode: Measurement
    tokens: int

    @property
    def decode_ms(self) -> float:
        """Milliseconds a token."""
        return self.decode.ms / self.tokens

    @property
    def decode_tokens_per_second(self) -> float:
        """Tokens a second behind the prompt."""
        return 1000 / self.decode_ms

    @property
    def prefill_tokens_per_second(self) -> float:
        """Tokens of the prompt a second."""
        return 1000 * self.context / self.prefill.ms


def time_files(
    paths: Sequence[Path | str],
    *,
    context: int = 128,
    tokens: int = 16,
    threads: int = 1,
    protocol: Protocol | None = None,
) -> list[Speed]:
    """Time prefill and decode of GGUF files in turn, so that a drift of the machine hits all of them alike.

    Args:
        paths: The files.
        context: Tokens of the prompt.
        tokens: Tokens decoded behind it in one call.
        threads: llama.cpp may use.
        protocol: Blocks, warm-up and stopping rule; by default that of whole networks.

    Returns:
        A speed a file, in order.

    Raises:
        TargetError: If llama.cpp is not there, or failed.
    """
    names = [str(Path(path).absolute()) for path in paths]
    found = _timed(
        [Work(n, phase, context, tokens) for n in names for phase in ("prefill", "decode")], threads, protocol
    )
    return [Speed(context, *pair, tokens) for pair in zip(found[::2], found[1::2], strict=True)]


def time_phase(
    paths: Sequence[Path | str],
    phase: str,
    *,
    context: int = 128,
    tokens: int = 16,
    threads: int = 1,
    protocol: Protocol | None = None,
) -> list[Measurement]:
    """The same of one phase, `prefill` or `decode`; of decoding, milliseconds of all `tokens` together.

    Raises:
        TargetError: If llama.cpp is not there, or failed.
    """
    work = [Work(str(Path(path).absolute()), phase, context, tokens) for path in paths]
    return _timed(work, threads, protocol)


def _timed(work: Sequence[Work], threads: int, protocol: Protocol | None) -> list[Measurement]:
    target = LlamaCppTarget(threads=threads)
    target.require()
    return target.time([each.payload() for each in work], protocol or Protocol(warmup=2, least_blocks=3))
