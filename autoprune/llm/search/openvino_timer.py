"""Language models in OpenVINO: one graph of a step, whose state is the cache of keys and values."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from autoprune.errors import TargetError, first_line
from autoprune.graph.trace.quiet import quiet
from autoprune.hardware.contract.protocol import Protocol
from autoprune.hardware.timing.clocks import ProcessClock
from autoprune.hardware.timing.loop import time_calls
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.search.budget import Phase
from autoprune.llm.search.timers import DECODED, LanguageTimer, prompt_of

__all__ = ["OpenVinoSession", "OpenVinoTimer"]


class OpenVinoTimer(LanguageTimer):
    """OpenVINO's CPU plugin in this process, one thread, float32, the cache kept inside the runtime."""

    name = "openvino"
    protocol: ClassVar[Protocol] = Protocol(block=0.06, warmup=2, least_blocks=3, most_blocks=12, closing=1)

    def __init__(self, prompt: int = 128, number_format: str = "f16") -> None:
        super().__init__(prompt, number_format)
        self._sessions: WeakKeyDictionary[nn.Module, OpenVinoSession] = WeakKeyDictionary()

    def require(self) -> None:
        """See `LanguageTimer.require`."""
        if importlib.util.find_spec("openvino") is None:
            raise TargetError("openvino is not installed; pip install 'autoprune[openvino]'")

    def times(self, models: Sequence[LanguageModel], phase: Phase) -> list[float]:
        """See `LanguageTimer.times`."""
        self.require()
        calls = [self._call(self._session(model), model, phase) for model in models]
        found = time_calls(calls, ProcessClock(), self.protocol)
        return [each.ms / (1 if phase == "prefill" else DECODED) for each in found]

    def _session(self, model: LanguageModel) -> OpenVinoSession:
        """A model's session; the dense one's is made once, for exporting takes longer than timing."""
        if model.network not in self._sessions:
            self._sessions[model.network] = OpenVinoSession(model)
        return self._sessions[model.network]

    def _call(self, session: OpenVinoSession, model: LanguageModel, phase: Phase) -> Callable[[], object]:
        prompt = prompt_of(model.network, self.prompt)
        if phase == "prefill":

            def prefill() -> object:
                session.forget()
                return session.read(prompt)

            return prefill
        session.read(prompt)
        known = session.state()

        def decode() -> object:
            session.recall(known)
            logits = None
            for _ in range(DECODED):
                logits = session.read(prompt[:, :1])
            return logits

        return decode


class OpenVinoSession:
    """A causal language model, compiled; it remembers what it has read.

    Args:
        model: Its network is exported for any number of tokens read and known.

    Raises:
        TargetError: If it cannot be exported or converted; the reason's first line is given.
    """

    def __init__(self, model: LanguageModel) -> None:
        import openvino

        try:
            graph = _graph(model.network)
        except Exception as error:
            raise TargetError(f"openvino cannot run {model.origin}: {first_line(error)}") from error
        options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self._request = openvino.Core().compile_model(graph, "CPU", options).create_infer_request()

    def read(self, ids: Tensor) -> Any:
        """Read tokens (1, n) behind those that it knows; the logits of the last (1, 1, vocabulary)."""
        return self._request.infer([ids.numpy()])[0]

    def forget(self) -> None:
        """Know nothing."""
        self._request.reset_state()

    def state(self) -> list[Any]:
        """What it knows, to be given to `recall`."""
        import numpy as np

        return [np.array(each.state.data) for each in self._request.query_state()]

    def recall(self, known: Sequence[Any]) -> None:
        """Know what it knew."""
        import openvino

        for each, value in zip(self._request.query_state(), known, strict=True):
            each.state = openvino.Tensor(value)


class _Step(nn.Module):
    """A call with the cache as plain tensors: what is known comes in, what is known afterwards goes out."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor, *known: Tensor) -> tuple[Tensor, ...]:
        from transformers.cache_utils import DynamicCache, DynamicLayer

        made: Any = DynamicLayer  # without types
        cache: Any = DynamicCache()
        for keys, values in zip(known[::2], known[1::2], strict=True):
            layer: Any = made()
            layer.keys, layer.values, layer.dtype, layer.device = keys, values, keys.dtype, keys.device
            layer.is_initialized = True  # its own way there joins an empty tensor without a shape
            cache.layers.append(layer)
        logits = self.network(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        return (logits, *(each for layer in cache.layers for each in (layer.keys, layer.values)))


def _graph(network: Any) -> Any:
    """The step as a graph whose cache is state."""
    import openvino
    from openvino._offline_transformations import apply_make_stateful_transformation

    network = network.eval()
    with torch.no_grad():
        cache = network(input_ids=prompt_of(network, 4), use_cache=True).past_key_values
    known = [each for layer in cache.layers for each in (layer.keys, layer.values)]
    sizes = {"ids": {1: torch.export.Dim.DYNAMIC}, "known": tuple({2: torch.export.Dim.DYNAMIC} for _ in known)}
    with quiet(), torch.no_grad():
        inputs = (prompt_of(network, 3), *known)
        exported = torch.export.export(_Step(network), inputs, dynamic_shapes=sizes, strict=False)
        graph = openvino.convert_model(exported)
    # Only lengths are open: a state begins with a zero wherever its size is.
    shapes = [[1, -1], *([each.shape[0], each.shape[1], -1, each.shape[3]] for each in known)]
    graph.reshape(dict(zip(graph.inputs, (openvino.PartialShape(each) for each in shapes), strict=True)))
    for number, (source, result) in enumerate(zip(graph.inputs[1:], graph.outputs[1:], strict=True)):
        source.get_tensor().set_names({f"known_{number}"})
        result.get_tensor().set_names({f"next_{number}"})
    apply_make_stateful_transformation(graph, {f"known_{n}": f"next_{n}" for n in range(len(known))})
    return graph
