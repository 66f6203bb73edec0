"""The reference router of a folder of stages beside the one file of the same network."""

import importlib.util

import numpy as np

from autoprune.hardware import get_target
from tests.support.exits import TIED, elsewhere


def routed(folder):
    """The router that was written there, not this package's."""
    spec = importlib.util.spec_from_file_location("written_router", folder / "router.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Router(folder)


def paths_as_the_file(folder, file, x):
    """The paths of a router, which takes those of the file and gives its logits on each.

    Args:
        folder: The stages.
        file: The content of the ONNX file.
        x: Inputs of a network that has one, (N, ...).
    """
    router, call = routed(folder), get_target("onnxruntime").caller(file)
    (name,) = router.stages[0]["inputs"]
    found = [(*router({name: row[None].numpy()}), *call([row[None].numpy()])) for row in x]
    taken, expected = [path for _, path, _, _ in found], [int(path[0]) for *_, path in found]
    assert elsewhere(taken, expected) <= TIED
    for logits, path, answer, other in found:
        assert path != int(other[0]) or np.allclose(logits, answer, rtol=1e-4, atol=1e-5)
    return taken
