"""ResNet-20 in eight bits on Fashion-MNIST: draws of calibration images, peers, and the torch graph beside the file.

    python benchmarks/quantization.py
    python benchmarks/quantization.py --nncf /path/of/an/environment/bin/python --out quantization.json

Beside float32 stands the same file in float16, as onnxruntime's own tool makes it. Files of ours are made from three
draws of 256 calibration images with one type of integers, and from the first draw also by onnxruntime's
`quantize_static` with its defaults, and by `nncf.quantize` with its own, in an environment that has it. On each runtime
all files are timed interleaved, round after round, and a speedup is taken within a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from autoprune.data import load
from autoprune.export.onnx_network import opened_file, with_fixed_batch
from autoprune.hardware import LocalTarget, Protocol, get_target
from autoprune.hardware.sensors.processor import cpu_flags, cpu_model
from autoprune.models import build, load_weights
from autoprune.pipeline.jobs.quantize.subject import FloatFile, float_file
from autoprune.pipeline.task import shipped_weights
from autoprune.quantization.fake import fake_quantized
from autoprune.quantization.observe import histograms
from autoprune.quantization.qdq import QuantizationPlan, with_integers
from autoprune.quantization.ranges import RANGES
from autoprune.quantization.scheme import scheme_named

_NNCF = """
import sys, numpy, onnx, nncf
source, images, out = sys.argv[1:]
model = onnx.load(source)
name = model.graph.input[0].name
data = nncf.Dataset(list(numpy.load(images)), lambda image: {name: image[None]})
onnx.save(nncf.quantize(model, data, subset_size=256), out)
"""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=3, help="of calibration images")
    parser.add_argument("--images", type=int, default=256, help="in each draw")
    parser.add_argument("--types", default="U8S8", help="of our files")
    parser.add_argument("--ranges", default="minmax", choices=sorted(RANGES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nncf", help="a python that has nncf")
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    return parser.parse_args()


def main() -> None:
    """Make the files, score them, time them, print."""
    torch.set_num_threads(1)
    chosen = arguments()
    data = load("fashion-mnist", None, batch_size=250, seed=0)
    model = build("resnet20", in_channels=1, classes=10, image_size=28).eval()
    weights = shipped_weights("resnet20", "fashion-mnist")
    assert weights is not None
    load_weights(model, weights)
    file = float_file(model, data.example)
    images = np.concatenate([np.asarray(batch[0]) for batch in data.calibration])
    test = [(np.asarray(x), np.asarray(y)) for x, y in data.test]
    draws = [
        images[np.random.default_rng(seed).permutation(len(images))[: chosen.images]] for seed in range(chosen.draws)
    ]
    plans = [plan_of(file, draw, chosen.types, chosen.ranges) for draw in draws]
    files = {"float32": file.content, "float16": in_float16(file)}
    files |= {f"ours, draw {number}": with_integers(file.model, plan) for number, plan in enumerate(plans)}
    files |= peers(file, draws[0], chosen.nncf)
    rows = {name: dict(on_runtime(name, files, test, chosen.rounds)) for name in ("onnxruntime", "openvino")}
    graph = fake_quantized(model, data.example, file.model, plans[0])
    same = agreement(graph, files["ours, draw 0"], test)
    print(f"torch graph and file: the same class for {same:.4%} of {sum(len(y) for _, y in test)} images")
    if chosen.out:
        about = {"cpu": cpu_model(), "flags": cpu_flags(), "runtimes": rows, "agreement": same}
        chosen.out.write_text(json.dumps(about, indent=1))


def plan_of(file: FloatFile, images: Any, types: str, method: str) -> QuantizationPlan:
    """Ranges from a draw of images."""
    scheme = scheme_named(types)
    found = histograms(file.model, file.sites.tensors, [[part] for part in np.array_split(images, 4)])
    return QuantizationPlan(scheme, {name: RANGES[method](each, scheme) for name, each in found.items()})


def in_float16(file: FloatFile) -> bytes:
    """The float32 file with weights and activations in float16; its inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.load_from_string(file.content)
    converted: bytes = convert_float_to_float16(copy, keep_io_types=True).SerializeToString(deterministic=True)
    return converted


def peers(file: FloatFile, images: Any, python: str | None) -> Iterator[tuple[str, bytes]]:
    """What others make of the same float32 file and the same images."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(images)

        def get_next(self) -> Mapping[str, Any] | None:
            image = next(self.rest, None)
            return None if image is None else {file.model.graph.input[0].name: image[None]}

    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "float.onnx", Path(folder) / "peer.onnx"
        source.write_bytes(file.content)
        quantize_static(str(source), str(out), Reader())
        yield "quantize_static", out.read_bytes()
        if python is not None:
            np.save(Path(folder) / "images.npy", images)
            command = [python, "-c", _NNCF, str(source), f"{folder}/images.npy", str(out)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            yield "nncf.quantize", out.read_bytes()


def on_runtime(
    name: str, files: Mapping[str, bytes], test: list[tuple[Any, Any]], rounds: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Accuracy, latency and speedup of each file, printed and given back."""
    target = get_target(name)
    assert isinstance(target, LocalTarget)
    payloads = [with_fixed_batch(content, 1) for content in files.values()]
    with target.session() as timer:
        taken = [[measured.ms for measured in timer.time(payloads, Protocol.networks())] for _ in range(rounds)]
    for place, (kind, content) in enumerate(files.items()):
        call = target.caller(content)
        assert call is not None
        right = np.concatenate([np.asarray(call([x])[0]).argmax(1) == y for x, y in test])
        ratios = [row[0] / row[place] for row in taken]
        row = {
            "accuracy": float(right.mean()),
            "ms": statistics.median(row[place] for row in taken),
            "speedup": statistics.median(ratios),
            "least": min(ratios),
            "most": max(ratios),
            "bytes": len(content),
        }
        print(
            f"{name:<12} {kind:<16} {row['accuracy']:.2%}  {row['ms']:.4f} ms  {row['speedup']:.2f}"
            f" ({row['least']:.2f} to {row['most']:.2f})  {row['bytes']:,} bytes"
        )
        yield kind, row


def agreement(graph: torch.nn.Module, content: bytes, test: list[tuple[Any, Any]]) -> float:
    """Share of images to which the torch graph and the file give the same class."""
    run, same = opened_file(content), []
    with torch.no_grad():
        for x, _ in test:
            same.append(graph(torch.from_numpy(x)).argmax(1).numpy() == run([x])[0].argmax(1))
    return float(np.concatenate(same).mean())


if __name__ == "__main__":
    main()
