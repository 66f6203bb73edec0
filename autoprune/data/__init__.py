"""Data: four disjoint splits of a data set, as batches that can be iterated again."""

from autoprune.data.base import DataSet, DataSource
from autoprune.data.batches import Augmentation, Normalisation, TensorBatches
from autoprune.data.images import Images, from_images
from autoprune.data.loaders import from_loaders, from_reference
from autoprune.data.registry import SOURCES, known_shape, load
from autoprune.data.splits import split

__all__ = [
    "SOURCES",
    "Augmentation",
    "DataSet",
    "DataSource",
    "Images",
    "Normalisation",
    "TensorBatches",
    "from_images",
    "from_loaders",
    "from_reference",
    "known_shape",
    "load",
    "split",
]
