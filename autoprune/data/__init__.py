"""Data: four disjoint splits of a data set, as batches that can be iterated again."""

from autoprune.data._cifar import cifar
from autoprune.data._digits import digits
from autoprune.data._fashion_mnist import fashion_mnist
from autoprune.data._image_folder import Manifest, folder, manifest_of
from autoprune.data.base import Augmentation, DataSet, Normalisation, TensorBatches
from autoprune.data.loaders import from_loaders, from_reference
from autoprune.data.registry import NAMES, load

__all__ = [
    "NAMES",
    "Augmentation",
    "DataSet",
    "Manifest",
    "Normalisation",
    "TensorBatches",
    "cifar",
    "digits",
    "fashion_mnist",
    "folder",
    "from_loaders",
    "from_reference",
    "load",
    "manifest_of",
]
