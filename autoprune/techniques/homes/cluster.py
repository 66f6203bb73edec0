"""The connection to a Ray cluster."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from importlib.util import find_spec

from autoprune.errors import MissingExtraError

__all__ = ["LOCAL", "connect", "require_ray"]

LOCAL = "local"
"""The address that starts a cluster on this machine."""

_SECONDS_TO_CONNECT = 10.0


def require_ray() -> None:
    """Refuse where Ray is not installed.

    Raises:
        MissingExtraError: Names the extra.
    """
    if find_spec("ray") is None:
        raise MissingExtraError("ray", "distributed")


def connect(address: str, processors: int) -> bool:
    """Connect this process to a cluster, unless it is connected already.

    Args:
        address: Of the cluster; `auto` for the one that this machine belongs to, `local` to start one here.
        processors: That a cluster started here has at least.

    Returns:
        Whether this call has connected it: `ray.shutdown` is for whoever did.

    Raises:
        Exception: Ray's own, of many kinds, or OSError where nobody listens.
    """
    import ray

    if ray.is_initialized():
        return False
    own = {"num_cpus": max(processors, os.cpu_count() or 1)} if address == LOCAL else {}
    here = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}} if address == LOCAL else {}
    _require_listener(address)
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(
        address=address,
        include_dashboard=None if address != LOCAL else False,
        log_to_driver=False,
        runtime_env=here,
        **own,
    )
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's own ends the program without a word
    return True


def _require_listener(address: str) -> None:
    """Refuse an address where nobody listens: Ray would try for ever.

    Raises:
        OSError: If nobody answers within seconds.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), _SECONDS_TO_CONNECT).close()
