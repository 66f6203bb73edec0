"""A language model as a folder that OpenVINO reads: the graph, its weights, the config and the tokenizer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import InputError, MissingExtraError, first_line
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.models.folder import OPENVINO_GRAPH, is_openvino_folder, load_tokenizer, written_folder
from autoprune.llm.models.library import reading, transformers
from autoprune.llm.openvino.graph import step_graph
from autoprune.llm.openvino.session import OpenVinoSession
from autoprune.llm.openvino.weights import Compressed, compress_weights, require_format

__all__ = ["is_openvino_folder", "load_openvino", "save_openvino", "session_of"]


def save_openvino(model: LanguageModel, path: Path, number_format: str) -> Compressed:
    """Write a model for OpenVINO; whole or not at all.

    Args:
        model: It.
        path: The folder, which is replaced.
        number_format: Of its matrices, of `autoprune.llm.openvino.weights`.

    Raises:
        InputError: If the format is none of these, or the folder cannot be written.
        TargetError: If the model cannot be exported or converted.
        MissingExtraError: If openvino is not installed.
    """
    require_format(number_format)
    openvino = _openvino()
    graph = step_graph(model)
    compressed = compress_weights(graph, number_format, int(model.config.vocab_size))

    def write(folder: Path) -> None:
        openvino.save_model(graph, str(folder / OPENVINO_GRAPH), compress_to_fp16=False)
        model.config.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)

    written_folder(path, write)
    return compressed


class _InOpenVino(nn.Module):
    """What OpenVINO computes, called like a network of `transformers`.

    Args:
        session: The model.
        config: Its configuration.
    """

    def __init__(self, session: OpenVinoSession, config: Any) -> None:
        super().__init__()
        self.session, self.config = session, config

    def forward(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        """`logits`, (batch, tokens, vocabulary), of token ids (batch, tokens), each row on its own."""
        rows = []
        for row in torch.split(input_ids, 1):
            self.session.forget()
            rows.append(torch.from_numpy(self.session.read(row, last=row.shape[1]).copy()))
        return SimpleNamespace(logits=torch.cat(rows))


def load_openvino(path: Path, origin: str) -> LanguageModel:
    """The model in a folder of `save_openvino`: it can be called and judged, not pruned.

    Args:
        path: The folder.
        origin: What the user called it.

    Raises:
        InputError: If OpenVINO cannot read it.
        MissingExtraError: If openvino is not installed.
    """
    _openvino()
    with reading(f"the config in {path}"):
        config = transformers().AutoConfig.from_pretrained(path, local_files_only=True)
    try:
        session = OpenVinoSession(path / OPENVINO_GRAPH)
    except RuntimeError as error:
        raise InputError(f"cannot read the graph in {path}: {first_line(error)}") from error
    return LanguageModel(_InOpenVino(session, config).eval(), load_tokenizer(path), origin)


def session_of(model: LanguageModel) -> OpenVinoSession:
    """The session that computes a model of `load_openvino`."""
    network = model.network
    assert isinstance(network, _InOpenVino)
    return network.session


def _openvino() -> Any:
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise MissingExtraError("openvino", "openvino") from error
    return openvino
