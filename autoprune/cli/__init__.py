"""The command line: one module a command, which parses, calls and prints.

Heavy imports happen inside the commands, so that `--help` answers at once.
"""

from autoprune.cli.main import main

__all__ = ["main"]
