"""A network from another library, as autoprune takes it: a function without arguments that returns the module."""

from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification


def hf_resnet() -> nn.Module:
    """A small ResNet of `transformers` for grey images and ten classes, with fresh weights."""
    config = ResNetConfig(
        num_channels=1,
        embedding_size=64,
        hidden_sizes=[64, 128, 256],
        depths=[2, 2, 2],
        layer_type="basic",
        num_labels=10,
        downsample_in_first_stage=False,
    )
    return ResNetForImageClassification(config)
