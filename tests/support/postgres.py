"""A PostgreSQL cluster of a test's own: made, started and stopped by it, on a free port, in a folder that goes."""

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

_USER = "autoprune"


def why_not():
    """Why there can be none here; None if there can be one."""
    if _binary("initdb") is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if importlib.util.find_spec("psycopg2") is None:
        return "psycopg2 is not installed (pip install 'autoprune[distributed]')"
    if os.geteuid() == 0 and _other_user() is None:
        return "PostgreSQL does not run as root, and there is no user postgres or nobody"
    return None


class Cluster:
    """A running cluster.

    Attributes:
        url: Of its one database, without a password: the user is trusted.
    """

    def __init__(self, folder):
        self._data, self._sockets = folder / "data", folder / "sockets"
        self.port = _free_port()
        self.url = f"postgresql+psycopg2://{_USER}@127.0.0.1:{self.port}/postgres"

    def make(self):
        self._sockets.mkdir()
        if os.geteuid() == 0:
            own = _other_user()
            for folder in (self._data.parent, self._sockets):
                os.chown(folder, own.pw_uid, own.pw_gid)
        self._run("initdb", "-D", self._data, "-U", _USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--no-locale")

    def start(self):
        options = f"-p {self.port} -k {self._sockets} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "-D", self._data, "-o", options, "-l", self._data.parent / "log", "-w", "start")

    def stop(self, mode="fast"):
        self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def require_passwords(self, password):
        """From now on nobody connects without it."""
        self._run(
            "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", _USER, "-d", "postgres", "-q",
            "-c", f"ALTER USER {_USER} PASSWORD '{password}'",
        )  # fmt: skip
        hosts = self._data / "pg_hba.conf"
        hosts.write_text(hosts.read_text().replace("trust", "scram-sha-256"))
        self._run("pg_ctl", "-D", self._data, "reload")

    def trust_again(self):
        hosts = self._data / "pg_hba.conf"
        hosts.write_text(hosts.read_text().replace("scram-sha-256", "trust"))
        self._run("pg_ctl", "-D", self._data, "reload")

    def _run(self, program, *arguments):
        own = _other_user() if os.geteuid() == 0 else None
        rights = {} if own is None else {"user": own.pw_uid, "group": own.pw_gid, "extra_groups": []}
        done = subprocess.run(
            [_binary(program), *map(str, arguments)], cwd="/", stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, **rights,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stderr}"


@contextmanager
def cluster():
    """A cluster that runs while the block does; not in pytest's folders, which are closed to the user that runs it."""
    folder = Path(tempfile.mkdtemp(prefix="autoprune-postgres-"))
    server = Cluster(folder)
    try:
        server.make()
        server.start()
        yield server
    finally:
        with suppress(AssertionError):
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def _binary(name):
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(newest[-1]) if newest else shutil.which(name)


def _other_user():
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
