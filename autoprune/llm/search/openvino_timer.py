"""Language models in OpenVINO, timed for a search."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import ClassVar
from weakref import WeakKeyDictionary

from torch import nn

from autoprune.errors import TargetError
from autoprune.hardware.contract.protocol import Protocol
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.openvino.session import OpenVinoSession
from autoprune.llm.openvino.timing import PROTOCOL, time_sessions
from autoprune.llm.openvino.weights import require_format
from autoprune.llm.search.budget import Phase
from autoprune.llm.search.timers import DECODED, LanguageTimer, prompt_of

__all__ = ["OpenVinoTimer"]


class OpenVinoTimer(LanguageTimer):
    """OpenVINO's CPU plugin in this process, one thread, the cache kept inside the runtime.

    Matrices are stored as `number_format` says; what is not compressed is computed in float32.
    """

    name = "openvino"
    protocol: ClassVar[Protocol] = PROTOCOL

    def __init__(self, prompt: int = 128, number_format: str = "f16") -> None:
        super().__init__(prompt, number_format)
        self._sessions: WeakKeyDictionary[nn.Module, OpenVinoSession] = WeakKeyDictionary()

    def require(self) -> None:
        """See `LanguageTimer.require`; what OpenVINO has no kernels for is wrong input."""
        require_format(self.number_format)
        if importlib.util.find_spec("openvino") is None:
            raise TargetError("openvino is not installed; pip install 'autoprune[openvino]'")

    def times(self, models: Sequence[LanguageModel], phase: Phase) -> list[float]:
        """See `LanguageTimer.times`."""
        self.require()
        sessions = [self._session(model) for model in models]
        prompt = prompt_of(models[0].network, self.prompt)
        found = time_sessions(sessions, prompt, phase, DECODED, self.protocol)
        return [each.ms / (1 if phase == "prefill" else DECODED) for each in found]

    def _session(self, model: LanguageModel) -> OpenVinoSession:
        """A model's session; the dense one's is made once, for exporting takes longer than timing."""
        if model.network not in self._sessions:
            self._sessions[model.network] = OpenVinoSession.of(model, self.number_format)
        return self._sessions[model.network]
