"""Options of a job that takes seconds, and what a command left in a folder."""

from pathlib import Path

from tests.support.paths import SUPPORT

JOB = SUPPORT / "tiny_job.py"
TINY = [
    "--model",
    "tests.support.tiny_job:network",
    "--data",
    "tests.support.tiny_job:loaders",
    "--target",
    "tests.support.tiny_job:Formula",
]
FAST = ["--train-epochs", "2", "--finetune-epochs", "2", "--finalists", "2", "--episodes", "6", "--agent", "random"]


def tree(path):
    """Every file under a folder with its bytes: what must be as it was."""
    return {str(p.relative_to(path)): p.read_bytes() if p.is_file() else None for p in sorted(Path(path).rglob("*"))}
