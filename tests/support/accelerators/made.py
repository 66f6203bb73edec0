"""Layers made up by a seed."""

import numpy as np

from autoprune.hardware.accelerators import LayerWork


def layer(outputs=24, inputs=36, density=0.3, acts=0.5, vectors=3, seed=0, **more):
    draw = np.random.default_rng(seed)
    mask = draw.random((outputs, inputs)) < density
    active = draw.random((vectors, inputs * more.get("groups", 1))) < acts
    return LayerWork("made", mask, active, **more)
