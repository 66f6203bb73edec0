"""A language model in OpenVINO's CPU plugin, which remembers what it has read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from autoprune.llm.models.base import LanguageModel
from autoprune.llm.openvino.graph import step_graph
from autoprune.llm.openvino.weights import compress_weights, require_format

__all__ = ["OpenVinoSession"]


class OpenVinoSession:
    """A causal language model, compiled for one thread; it computes in float32 what is not compressed.

    Args:
        graph: As `step_graph` makes it, or the file that one was written to.

    Raises:
        TargetError: If it cannot be exported or converted; the reason's first line is given.
    """

    def __init__(self, graph: Any) -> None:
        import openvino

        options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        found = str(graph) if isinstance(graph, Path) else graph
        self._request = openvino.Core().compile_model(found, "CPU", options).create_infer_request()

    @classmethod
    def of(cls, model: LanguageModel, number_format: str = "f32") -> OpenVinoSession:
        """A model's session.

        Args:
            model: It.
            number_format: That its matrices are stored in, of `autoprune.llm.openvino.weights`.

        Raises:
            InputError: If the format is none of these.
            TargetError: If the model cannot be exported or converted; the reason's first line is given.
        """
        require_format(number_format)
        graph = step_graph(model)
        compress_weights(graph, number_format, int(model.config.vocab_size))
        return cls(graph)

    def read(self, ids: Tensor, last: int = 1) -> Any:
        """Read tokens behind those that it knows.

        Args:
            ids: int64 (1, n).
            last: So many logits are returned, at most n.

        Returns:
            The logits of the last tokens, an array (1, last, vocabulary) that the next call overwrites.
        """
        import numpy as np

        count = ids.shape[1]
        return self._request.infer([ids.numpy(), np.arange(count - last, count)])[0]

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
