"""The Python face: the jobs of the command line on what a program hands over.

A setting is said with the same name and the same values here, on the command line and in an experiment file.
"""

from autoprune.pipeline.api.analysis import sensitivity
from autoprune.pipeline.api.jobs import codesign, dynamic, lottery, quantize, sparsify
from autoprune.pipeline.api.searches import compress, progressive, sweep, work

__all__ = [
    "codesign",
    "compress",
    "dynamic",
    "lottery",
    "progressive",
    "quantize",
    "sensitivity",
    "sparsify",
    "sweep",
    "work",
]
