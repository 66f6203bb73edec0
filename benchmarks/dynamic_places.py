"""Where networks can be left: places for exits in whole architectures, and whether the parts equal the whole.

    OMP_NUM_THREADS=1 python benchmarks/dynamic_places.py            # --only ViT prints one row

Networks are the zoo's, and those of `transformers` in tests/support/nets/whole_models.py that give one row of scores a
sample, by configuration, with random weights. Each is cut at every place that is offered; its stages run one after the
other on three samples, and the largest difference from the network's own output is given.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoprune import models
from autoprune.dynamic_networks.flow import flow_of
from autoprune.dynamic_networks.stages import cut_at, run_stages
from autoprune.early_exit.places import places_of
from autoprune.errors import AutopruneError
from autoprune.models import output_of
from autoprune.models.inputs.example import as_example

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.nets.whole_models import MODELS, SHAPE, TEXT, WholeModel

SAMPLES = 3
PATCHES = {**SHAPE, "image_size": 32, "patch_size": 8, "num_labels": 5}


def _text(family: str, **more: Any) -> WholeModel:
    settings = {**SHAPE, **TEXT, "max_position_embeddings": 64, **more}
    return WholeModel(f"{family}Config", f"{family}ForSequenceClassification", settings, 0)


CLASSIFIERS = {
    "ALBERT": _text("Albert", embedding_size=16),
    "ELECTRA": _text("Electra", embedding_size=16),
    "MPNet": _text("MPNet", pad_token_id=1),
    "DeBERTa v2": _text("DebertaV2"),
    "ConvBERT": _text("ConvBert", embedding_size=16),
    "RoFormer": _text("RoFormer", embedding_size=32),
    "SqueezeBERT": _text("SqueezeBert", embedding_size=32),
    "GPT-2, classes": _text("GPT2", n_embd=32, n_layer=2, n_head=4),
    "Llama, classes": _text("Llama", num_key_value_heads=2, use_cache=False),
    "ViT-MSN": WholeModel("ViTMSNConfig", "ViTMSNForImageClassification", PATCHES),
    "Data2Vec vision": WholeModel("Data2VecVisionConfig", "Data2VecVisionForImageClassification", PATCHES),
    "DINOv2 with registers": WholeModel(
        "Dinov2WithRegistersConfig", "Dinov2WithRegistersForImageClassification", {**PATCHES, "mlp_ratio": 2}
    ),
    "FocalNet": WholeModel(
        "FocalNetConfig",
        "FocalNetForImageClassification",
        {"image_size": 32, "embed_dim": 16, "depths": [1, 1], "focal_levels": [2, 2], "focal_windows": [3, 3]},
    ),
}


def main() -> None:
    """A line each, and how many can be left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="one network")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print("| network | places | first | last | largest difference | CPU s |\n|---|---|---|---|---|---|")
    left = refused = 0
    for name, network, example in _networks():
        if given.only not in (None, name):
            continue
        line, found = _row(name, network.eval(), example)
        left, refused = left + found, refused + (not found)
        print(line, flush=True)
    print(f"\n{left} can be left early, {refused} are refused")


def _networks() -> Iterator[tuple[str, nn.Module, Any]]:
    for name in models.ZOO:
        network = models.build(name, in_channels=3, classes=10, image_size=32, seed=0)
        yield name, network, torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for name, each in {**MODELS, **CLASSIFIERS}.items():
        yield name, each.build(), each.example()


def _row(name: str, network: nn.Module, example: Any) -> tuple[str, bool]:
    start = time.process_time()
    try:
        with torch.no_grad():
            scores = output_of(as_example(example).run(network))
        if scores.ndim != 2:
            return f"| {name} | output of shape {list(scores.shape)}: no row of scores a sample | | | | |", False
        flow = flow_of(network, example)
        places = places_of(flow)
        call = as_example(example).map(_repeated)
        with torch.no_grad():
            whole = output_of(call.run(network))
            parts = run_stages(cut_at(flow, [place.node for place in places]), flow.flat(call))
        difference = float((whole - parts).abs().max())
    except AutopruneError as error:
        return f"| {name} | refused: {str(error).splitlines()[0].replace('|', '/')} | | | | |", False
    seconds = time.process_time() - start
    ends = f"{places[0].name} | {places[-1].name}"
    return f"| {name} | {len(places)} | {ends} | {difference:.1g} | {seconds:.1f} |", True


def _repeated(value: torch.Tensor) -> torch.Tensor:
    """Three samples that differ where the value has numbers."""
    many = value.repeat(SAMPLES, *[1] * (value.ndim - 1))
    return many + torch.arange(SAMPLES).view(-1, *[1] * (value.ndim - 1)) * 0.1 if many.is_floating_point() else many


if __name__ == "__main__":
    main()
