"""Matrices of a graph in fewer bits: the whole numbers and scales that a GGUF file of the same type holds.

OpenVINO's compression of weights is a pattern in the graph, constant of 16, 8 or 4 bits -> Convert -> Multiply by a
scale for each 32 inputs, which its plugins execute within the matrix product instead of before it. Where the processor
has products of integers, the CPU plugin rounds what such a layer reads to 8 bits, too, group by group
(`DYNAMIC_QUANTIZATION_GROUP_SIZE`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.errors import InputError
from autoprune.llm.gguf.formats import format_of, gguf_package
from autoprune.reconstruction.grids import BLOCK

__all__ = ["FORMATS", "Compressed", "compress_weights", "require_format", "whole_numbers"]

FORMATS = ("f32", "f16", "q8_0", "q4_0")
"""What matrices can be stored in; vectors are float32 in all of them."""


@dataclass(frozen=True)
class Compressed:
    """What became of a graph's matrices.

    Attributes:
        matrices: That are stored in the format asked for, or that of embeddings.
        coarse: That are f16 instead: their rows are no whole blocks of 32.
    """

    matrices: int
    coarse: int


def require_format(number_format: str) -> None:
    """Refuse a format that OpenVINO has no kernels for.

    Raises:
        InputError: If there is none of that name, or it is llama.cpp's alone.
    """
    format_of(number_format)
    if number_format.lower() not in FORMATS:
        raise InputError(f"{number_format} is llama.cpp's alone; openvino takes --type {', '.join(FORMATS)}")


def compress_weights(graph: Any, number_format: str, vocabulary: int) -> Compressed:
    """Store the matrices of a graph in another format.

    Args:
        graph: An `openvino.Model` in float32, changed in place.
        number_format: One of `FORMATS`; with `q4_0`, embeddings and the output layer are `q8_0` as in GGUF files.
        vocabulary: Rows of the output layer.

    Raises:
        InputError: If the format is none of these.
    """
    require_format(number_format)
    wanted = format_of(number_format)
    if wanted.matrices == "F32":
        return Compressed(0, 0)
    ports = _matrix_ports(graph)
    matrices = [port.get_source_output().get_node().data for port in ports]  # all alive, so that places are their own
    made: dict[int, Any] = {}
    formats: list[str] = []
    for port, values in zip(ports, matrices, strict=True):
        place = values.ctypes.data  # tied weights are one tensor
        if place not in made:
            embeds = port.get_node().get_type_name() == "Gather" or len(values) == vocabulary
            kind = wanted.embeddings if embeds else wanted.matrices
            formats.append(kind if values.shape[1] % BLOCK == 0 else "F16")
            made[place] = _stored(values, formats[-1]).output(0)
        port.replace_source_output(made[place])
    graph.validate_nodes_and_infer_types()
    coarse = 0 if wanted.matrices == "F16" else formats.count("F16")
    return Compressed(len(formats) - coarse, coarse)


def whole_numbers(values: NDArray[np.float32], kind: str) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """The whole numbers and scales of a GGUF file.

    Args:
        values: (rows, columns), columns a multiple of 32.
        kind: "Q8_0" or "Q4_0".

    Returns:
        Numbers (rows, blocks, 32), and scales (rows, blocks, 1).
    """
    gguf = gguf_package()
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][1]
    stored = gguf.quants.quantize(np.ascontiguousarray(values), gguf.GGMLQuantizationType[kind])
    blocks = np.frombuffer(stored.tobytes(), np.uint8).reshape(len(values), -1, size)
    scales, numbers = np.ascontiguousarray(blocks[:, :, :2]).view(np.float16), blocks[:, :, 2:]
    if kind == "Q8_0":
        return numbers.view(np.int8), scales
    halves = np.concatenate([numbers & 15, numbers >> 4], axis=2)  # a byte holds a number of each half of the block
    return halves.astype(np.int8) - np.int8(8), scales


def _matrix_ports(graph: Any) -> list[Any]:
    """The inputs of products and look-ups that a matrix of weights lies at."""
    ports = []
    for node in graph.get_ordered_ops():
        place = {"MatMul": 1, "Gather": 0}.get(node.get_type_name())
        if place is None or (place and not node.get_attributes()["transpose_b"]):  # scales lie along what is summed
            continue
        port = node.input(place)
        source = port.get_source_output().get_node()
        if source.get_type_name() == "Constant" and len(source.shape) == 2 and source.data.dtype == np.float32:
            ports.append(port)
    return ports


def _stored(values: NDArray[np.float32], kind: str) -> Any:
    """The nodes of the pattern, of which the last gives float32 of the matrix's shape."""
    from openvino import Type
    from openvino import opset13 as ops

    if kind == "F16":
        return ops.convert(ops.constant(values.astype(np.float16)), "f32")
    numbers, scales = whole_numbers(values, kind)
    whole = ops.constant(numbers, Type.i4) if kind == "Q4_0" else ops.constant(numbers)
    scaled = ops.multiply(ops.convert(whole, "f16"), ops.constant(scales))
    return ops.convert(ops.reshape(scaled, np.array(values.shape, np.int64), False), "f32")
