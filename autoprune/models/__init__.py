"""Models: a small zoo, any `package.module:factory`, and weights in files."""

from autoprune.models.build import ZOO, build
from autoprune.models.compiled import uncompiled
from autoprune.models.layout import canonical, canonical_convolutions, computing
from autoprune.models.modes import in_mode
from autoprune.models.outputs import output_of, with_tensor_output
from autoprune.models.precision import autocast, bf16_is_fast, device_of, uses_bf16
from autoprune.models.sizes import parameter_count
from autoprune.models.weights import load_weights, read_weights, save_weights
from autoprune.models.zoo.lottery import conv2, conv4, conv6, lenet_300_100
from autoprune.models.zoo.mobilenet import mobilenet_v1, mobilenet_v2
from autoprune.models.zoo.resnet import plain20, resnet20, resnet32, resnet56
from autoprune.models.zoo.vgg import vgg16_bn

__all__ = [
    "ZOO",
    "autocast",
    "bf16_is_fast",
    "build",
    "canonical",
    "canonical_convolutions",
    "computing",
    "conv2",
    "conv4",
    "conv6",
    "device_of",
    "in_mode",
    "lenet_300_100",
    "load_weights",
    "mobilenet_v1",
    "mobilenet_v2",
    "output_of",
    "parameter_count",
    "plain20",
    "read_weights",
    "resnet20",
    "resnet32",
    "resnet56",
    "save_weights",
    "uncompiled",
    "uses_bf16",
    "vgg16_bn",
    "with_tensor_output",
]
