"""Commands in a process group of their own, and their end by a signal."""

import os
import signal
import subprocess
import sys
import time

PROGRAM = [sys.executable, "-c", "from autoprune.cli import main; main()"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def started(folder, *arguments, code=None):
    command = [sys.executable, "-c", code] if code else [*PROGRAM, *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, as a terminal gives to a command
    )


def stopped(process, by=signal.SIGINT):
    """Send a signal to the whole group; exit code, seconds until the end, all of standard error."""
    start = time.monotonic()
    os.killpg(process.pid, by)
    _, said = process.communicate(timeout=30)
    return process.returncode, time.monotonic() - start, said
