"""Where latencies of language models are measured: prefill of a prompt, and decoding behind it."""

from __future__ import annotations

import copy
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary, finalize

import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.foundations.registry import Registry
from autoprune.hardware.contract.protocol import Protocol
from autoprune.hardware.timing.clocks import CpuClock
from autoprune.hardware.timing.loop import time_calls
from autoprune.llm.gguf.write import write_gguf
from autoprune.llm.llamacpp.target import LlamaCppTarget
from autoprune.llm.llamacpp.timing import time_phase
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.search.budget import Phase

__all__ = ["DECODED", "TIMERS", "LanguageTimer", "LlamaCppTimer", "TorchTimer", "prompt_of"]

DECODED = 16
"""Tokens that one timed call decodes."""


class LanguageTimer(ABC):
    """Times language models; makes no difference between dense and pruned ones.

    Args:
        prompt: Tokens that are read, or that stand before those that are decoded.
        number_format: Of files, where the target reads files.

    Attributes:
        name: What users call it.
        row_multiple: Numbers by which it computes rows of matrices; what is left over of a row takes much longer.
    """

    name: ClassVar[str]
    row_multiple: ClassVar[int] = 1

    def __init__(self, prompt: int = 128, number_format: str = "f16") -> None:
        self.prompt, self.number_format = prompt, number_format

    def require(self) -> None:  # noqa: B027 - what needs nothing is there
        """Refuse what is not available on this machine.

        Raises:
            TargetError: Says what is missing.
        """

    @abstractmethod
    def times(self, models: Sequence[LanguageModel], phase: Phase) -> list[float]:
        """Milliseconds of models in turn: of the whole prompt, or of one token decoded behind it.

        Raises:
            TargetError: If the target failed.
            InputError: If a model cannot be run there.
        """


class LlamaCppTimer(LanguageTimer):
    """Stock llama.cpp, one thread. The file of a network is kept as long as the network, which must not change."""

    name = "llama.cpp"
    row_multiple = LlamaCppTarget.channel_multiple

    def __init__(self, prompt: int = 128, number_format: str = "f16") -> None:
        super().__init__(prompt, number_format)
        self._files: WeakKeyDictionary[nn.Module, Path] = WeakKeyDictionary()

    def require(self) -> None:
        """See `LanguageTimer.require`."""
        LlamaCppTarget().require()

    def times(self, models: Sequence[LanguageModel], phase: Phase) -> list[float]:
        """See `LanguageTimer.times`."""
        files = [self._file(model) for model in models]
        found = time_phase(files, phase, context=self.prompt, tokens=DECODED)
        return [each.ms / (1 if phase == "prefill" else DECODED) for each in found]

    def _file(self, model: LanguageModel) -> Path:
        """The file of a network, written once: the dense one is timed beside every other."""
        if model.network not in self._files:
            folder = tempfile.mkdtemp(prefix="autoprune-")
            finalize(model.network, shutil.rmtree, folder, ignore_errors=True)
            path = Path(folder) / "model.gguf"
            write_gguf(model.network, model.tokenizer, path, self.number_format)
            self._files[model.network] = path
        return self._files[model.network]


class TorchTimer(LanguageTimer):
    """PyTorch in this process, one thread, with a cache of keys and values."""

    name = "torch"
    protocol: ClassVar[Protocol] = Protocol(block=0.06, warmup=2, least_blocks=3, most_blocks=12, closing=1)

    def times(self, models: Sequence[LanguageModel], phase: Phase) -> list[float]:
        """See `LanguageTimer.times`."""
        make = self._prefill if phase == "prefill" else self._decode
        try:
            with _one_thread(), torch.no_grad():
                found = time_calls([make(model.network) for model in models], CpuClock(), self.protocol)
        except IndexError as error:  # positions that are learned end with the table
            raise InputError(
                f"--prompt {self.prompt}: {models[0].origin} cannot read {self.prompt + DECODED} tokens, of which"
                f" {DECODED} are decoded behind the prompt"
            ) from error
        return [each.ms / (1 if phase == "prefill" else DECODED) for each in found]

    def _prefill(self, network: Any) -> Callable[[], object]:
        ids = prompt_of(network, self.prompt)
        return lambda: network(input_ids=ids, use_cache=True, logits_to_keep=1)

    def _decode(self, network: Any) -> Callable[[], object]:
        known = network(input_ids=prompt_of(network, self.prompt), use_cache=True).past_key_values
        tokens = prompt_of(network, self.prompt)[:, :1]

        def decode() -> object:
            cache, output = copy.deepcopy(known), None
            for _ in range(DECODED):
                output = network(input_ids=tokens, past_key_values=cache, use_cache=True)
            return output

        return decode


def prompt_of(network: Any, length: int) -> torch.Tensor:
    """Token numbers (1, length) that any vocabulary has."""
    ids = 5 + torch.arange(length) % 89
    return (ids % int(network.config.vocab_size))[None].to(network.device)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


TIMERS: Registry[type[LanguageTimer]] = Registry(
    "target of language models",
    {
        "llama.cpp": "autoprune.llm.search.timers:LlamaCppTimer",
        "torch": "autoprune.llm.search.timers:TorchTimer",
        "openvino": "autoprune.llm.search.openvino_timer:OpenVinoTimer",
    },
    "autoprune.language_targets",
)
"""Targets by name."""
