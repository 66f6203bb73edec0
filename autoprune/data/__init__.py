"""Data: four disjoint splits of a data set, as batches that can be iterated again."""

from autoprune.data.base import Augmentation, DataSet, Normalisation, TensorBatches
from autoprune.data.catalogue import NAMES, load
from autoprune.data.digits import digits
from autoprune.data.fashion_mnist import fashion_mnist
from autoprune.data.folder import Manifest, folder, manifest_of
from autoprune.data.loaders import from_loaders, from_reference

__all__ = [
    "NAMES",
    "Augmentation",
    "DataSet",
    "Manifest",
    "Normalisation",
    "TensorBatches",
    "digits",
    "fashion_mnist",
    "folder",
    "from_loaders",
    "from_reference",
    "load",
    "manifest_of",
]
