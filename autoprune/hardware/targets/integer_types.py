"""Which types of integers suit a runtime on this machine: a short probe, kept in the user's cache.

Wrong ones are slower than float32, and on processors that add products in 16 bits some give wrong sums.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

from autoprune.errors import InputError, TargetError
from autoprune.foundations.cache import cache_folder
from autoprune.foundations.files import read_json, write_json
from autoprune.hardware.contract.protocol import Measurement, Protocol
from autoprune.quantization.scheme import SCHEMES, Scheme, scheme_named

__all__ = ["integer_types", "remember_types"]

_SCHEMA = "autoprune.types/1"
_EQUALLY_FAST = 1.02
_SATURATES = 4.0  # steps of the output by which a sum may be off; a saturated one is off by dozens

_known: dict[Path, Scheme] = {}  # by file, of this process


class Runtime(Interface):
    """What a probe asks of a target."""

    def caller(self, payload: bytes) -> Any:
        """A file that is called with its inputs."""

    def time(self, payloads: Sequence[bytes], protocol: Protocol) -> list[Measurement]:
        """Files timed beside each other."""


def integer_types(target: Runtime, device: Mapping[str, str]) -> Scheme:
    """The fastest types whose sums are right, probed at first use.

    Args:
        target: A runtime that computes with integers.
        device: Its fingerprint without the types.

    Raises:
        TargetError: If the runtime fails, or none of the types gives right sums.
    """
    path = _path(device)
    if path not in _known:
        with suppress(InputError, KeyError):
            _known[path] = scheme_named(read_json(path, "types")["types"])
    if path not in _known:
        remember_types(device, _probed(target, device["target"]))
    return _known[path]


def remember_types(device: Mapping[str, str], scheme: Scheme) -> None:
    """Keep an answer for a device."""
    path = _path(device)
    _known[path] = scheme
    with suppress(InputError):  # a cache that cannot be written costs seconds, not the job
        write_json(path, {"schema": _SCHEMA, "device": dict(device), "types": scheme.name})


def _path(device: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(json.dumps(dict(device), sort_keys=True).encode()).hexdigest()
    return cache_folder() / f"types-{digest[:20]}.json"


def _probed(target: Runtime, name: str) -> Scheme:
    from autoprune.quantization.sample import off_by, sample_files

    schemes = [scheme for scheme in SCHEMES.values() if scheme.per_channel]
    floats, files = sample_files(schemes)
    right = [number for number, file in enumerate(files) if off_by(target.caller, floats, file) < _SATURATES]
    if not right:
        raise TargetError(f"target {name!r} gives wrong sums with every type of integers")
    taken = [measured.ms for measured in target.time([files[number] for number in right], Protocol.entries())]
    first = next(place for place, ms in enumerate(taken) if ms <= min(taken) * _EQUALLY_FAST)
    return schemes[right[first]]
