"""The command line: one module a command, which parses, calls and prints.

Heavy imports happen inside the commands, so that `--help` answers at once.
"""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave with the exit code of `autoprune.errors`."""
    try:
        from autoprune.cli.main import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before anything could be set up
        sys.stderr.write("autoprune: interrupted; nothing had been started\n")
        code = 130
    if code == 130:  # at once: the interpreter's own clearing up takes seconds where torch is loaded
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
