"""Verdicts of earlier proofs, kept on disk: a large network that has been proven before is checked by two runs.

A verdict belongs to everything that a proof depends on: the traced operators, the groups, the example, the source
files of the network's classes, what their objects keep besides weights, and the versions of torch and of this engine.
It is not believed blindly: all groups that it allows are cut together once more, and where that fails, everything is
proven again.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.foundations.cache import cache_folder
from autoprune.foundations.files import read_json, write_json
from autoprune.graph.analysis import Analysis
from autoprune.graph.trace.export import Trace

__all__ = ["Verdict", "keep", "key_of", "known"]

_SCHEMA = "autoprune.proof/1"


@dataclass(frozen=True)
class Verdict:
    """What a proof found.

    Attributes:
        reasons: Group name -> why it must not be used.
        least: Group name -> the fewest units that it may keep.
    """

    reasons: Mapping[str, str]
    least: Mapping[str, int]


def key_of(model: nn.Module, analysis: Analysis, traced: Trace) -> str | None:
    """A digest of all that a proof depends on; None where the source of a class cannot be read (a notebook's).

    Args:
        model: The dense model.
        analysis: Its groups, not yet proven.
        traced: Its trace.
    """
    sources = _sources(model)
    if sources is None:
        return None
    digest = hashlib.sha256()
    described = (*_described(analysis), *_operators(traced), *_kept_besides_weights(model))
    for part in (torch.__version__, _engine(), sources, *described):
        digest.update(part.encode() + b"\0")
    for name, tensor in (*traced.constants.items(), *_tables(model)):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + _bytes_of(tensor))
    for group in analysis.groups:
        for member in group.members:
            digest.update(f"{member.tensor} {member.dim} {member.role}".encode() + _bytes_of(member.positions))
    return digest.hexdigest()


def known(key: str) -> Verdict | None:
    """The verdict that is kept under a digest; None if there is none, or its file is damaged."""
    path = _path(key)
    if not path.is_file():
        return None
    try:
        content = read_json(path, "verdict")
        reasons, least = content["reasons"], content["least"]
        if all(isinstance(why, str) for why in reasons.values()) and all(type(n) is int for n in least.values()):
            return Verdict(reasons, least)
    except (InputError, KeyError, AttributeError):
        pass
    return None


def keep(key: str, verdict: Verdict) -> None:
    """Keep a verdict; a cache that cannot be written is left as it is."""
    with suppress(OSError, InputError):
        path = _path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"schema": _SCHEMA, **asdict(verdict)})


def _path(key: str) -> Path:
    return cache_folder() / "proofs" / f"{key[:40]}.json"


def _described(analysis: Analysis) -> Iterator[str]:
    yield str(analysis.fingerprint["sha256"])
    yield repr((analysis.example_shapes, analysis.example_dtypes, analysis.attributes))
    for group in analysis.groups:
        yield repr((group.name, group.width, group.kind, group.oracle, group.summed, group.least))


def _operators(traced: Trace) -> Iterator[str]:
    yield repr((traced.batch, traced.outputs, traced.lower, traced.compared))
    yield from (f"{node.name} {node.format_node()}" for node in traced.graph.nodes)


def _kept_besides_weights(model: nn.Module) -> Iterator[str]:
    """Plain values and functions that modules hold: a forward may branch on them where no trace shows it."""
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if not key.startswith("_"):
                yield f"{name}.{key} {_described_value(value)}"


def _described_value(value: Any) -> str:
    code = getattr(value, "__code__", None)
    if code is not None:
        plain = [const for const in code.co_consts if isinstance(const, (int, float, str, tuple, type(None)))]
        return f"{value.__module__}.{value.__qualname__} {code.co_code.hex()} {code.co_names} {plain}"
    if isinstance(value, (int, float, str, type(None))):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return repr([_described_value(each) for each in value])
    return type(value).__qualname__


def _tables(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The buffers whose values the proof keeps: all but what BatchNorm gathers, which it draws anew."""
    for name, buffer in model.named_buffers():
        if name.rpartition(".")[2] not in ("running_mean", "running_var", "num_batches_tracked"):
            yield name, buffer


def _bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _sources(model: nn.Module) -> str | None:
    """A digest of the files in which the classes of all modules are written."""
    files = set()
    for kind in {base for module in model.modules() for base in type(module).__mro__}:
        if kind is object or (kind.__module__ or "").split(".")[0] in ("builtins", "torch", "abc", "typing"):
            continue
        try:
            files.add(str(inspect.getsourcefile(kind)))
        except (TypeError, OSError):
            return None
    return _digest_of(sorted(files))


@cache
def _engine() -> str:
    """A digest of this engine's own code."""
    folder = Path(__file__).parents[1]
    return str(_digest_of(sorted(map(str, folder.rglob("*.py")))))


def _digest_of(files: list[str]) -> str | None:
    try:
        return json.dumps([hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files])
    except OSError:
        return None
