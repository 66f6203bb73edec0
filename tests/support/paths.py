"""Where things lie, and how another process imports the tests' modules."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"
EXTENSIONS = ROOT / "tests" / "extensions"


def importing(*folders, **variables):
    """This process's environment, with some variables, for one that imports `tests.support` and what folders hold."""
    path = os.pathsep.join([*map(str, folders), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, **variables}
