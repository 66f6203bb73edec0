"""How fast OpenVINO runs several language models, in turn in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from autoprune.hardware.contract.protocol import Measurement, Protocol
from autoprune.hardware.timing.clocks import ProcessClock
from autoprune.hardware.timing.loop import time_calls
from autoprune.llm.llamacpp.timing import Speed
from autoprune.llm.openvino.folder import load_openvino, session_of
from autoprune.llm.openvino.session import OpenVinoSession

__all__ = ["PROTOCOL", "time_folders", "time_sessions"]

PROTOCOL = Protocol(block=0.06, warmup=2, least_blocks=3, most_blocks=12, closing=1)


def time_sessions(
    sessions: Sequence[OpenVinoSession],
    prompt: Tensor,
    phase: Literal["prefill", "decode"],
    tokens: int = 16,
    protocol: Protocol = PROTOCOL,
) -> list[Measurement]:
    """Time models in turn, so that a drift of the machine hits all of them alike.

    Args:
        sessions: The models.
        prompt: Token ids (1, n) that are read, or that stand before those decoded.
        phase: What is timed.
        tokens: Tokens that one call decodes.
        protocol: Blocks, warm-up and stopping rule.

    Returns:
        A measurement of each: of the whole prompt, or of all tokens of a call.
    """
    if phase == "prefill":
        calls = [_prefill(session, prompt) for session in sessions]
    else:
        calls = [_decode(session, prompt, tokens) for session in sessions]
    return time_calls(calls, ProcessClock(), protocol)


def time_folders(paths: Sequence[Path], *, context: int = 128, tokens: int = 16) -> list[Speed]:
    """Time prefill and decode of folders of `save_openvino` in turn, in one thread.

    Args:
        paths: The folders.
        context: Tokens of the prompt.
        tokens: Tokens decoded behind it in one call.

    Raises:
        InputError: If OpenVINO cannot read one.
    """
    models = [load_openvino(path, str(path)) for path in paths]
    sessions = [session_of(model) for model in models]
    prompt = torch.arange(context)[None] % min(int(model.config.vocab_size) for model in models)
    prefill = time_sessions(sessions, prompt, "prefill")
    decode = time_sessions(sessions, prompt, "decode", tokens)
    return [Speed(context, *pair, tokens) for pair in zip(prefill, decode, strict=True)]


def _prefill(session: OpenVinoSession, prompt: Tensor) -> Callable[[], object]:
    def prefill() -> object:
        session.forget()
        return session.read(prompt)

    return prefill


def _decode(session: OpenVinoSession, prompt: Tensor, tokens: int) -> Callable[[], object]:
    session.forget()
    session.read(prompt)
    known = session.state()

    def decode() -> object:
        session.recall(known)
        logits = None
        for _ in range(tokens):
            logits = session.read(prompt[:, :1])
        return logits

    return decode
