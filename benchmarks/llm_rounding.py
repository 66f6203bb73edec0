"""How far llama.cpp is from PyTorch for which reason: the file's type, its cache, and what rounding does in PyTorch.

    J=jargon/usr/share/doc/jargon-text/jargon.txt.gz      # llm_search.py says where it comes from, and writes the texts
    OMP_NUM_THREADS=1 python benchmarks/llm_search.py --out rows --jargon $J --rows ''
    autoprune llm prune --model smollm2 --dtype float32 --method llm-pruner --ratio 25% --run broken \\
        --calibration rows/calibration.txt
    OMP_NUM_THREADS=1 python benchmarks/llm_rounding.py --model runs/broken

Each line is the largest difference (nats) of the ten likeliest tokens' log-probabilities behind three prompts, those of
llm_structured.py. "fine" computes attention in f32; llama.cpp's default keeps keys and values in f16 and fuses.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from llm_structured import PROMPTS

from autoprune.llm.gguf import write_gguf
from autoprune.llm.llamacpp import LlamaCpp, agreement
from autoprune.llm.llamacpp.rounding import moved_by_f16
from autoprune.llm.models.load import load_language_model


def main():
    """Compare all, and show what layers read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a run, a folder, smollm2")
    model = load_language_model(parser.parse_args().model, torch.float32)
    torch.set_num_threads(1)
    for name, most in largest_inputs(model)[:4]:
        print(f"{name} reads up to {most:.0f}")
    print(f"PyTorch, rounded to f16: {moved_by_f16(model.network, model.tokenizer, PROMPTS):.4f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for number_format in ("f32", "f16"):
            written = write_gguf(model.network, model.tokenizer, Path(folder) / "it.gguf", number_format)
            for fine in (True, False):
                with LlamaCpp(written.path, fine=fine) as session:
                    found = agreement(model.network, model.tokenizer, session, PROMPTS, predict=1)
                how = "fine" if fine else "default"
                print(f"llama.cpp, {number_format} file, {how}: {found.largest:.4f}", flush=True)


def largest_inputs(model):
    """Linear layers by the largest number that they read behind the prompts, falling."""
    most, handles = {}, []
    for name, layer in model.network.named_modules():
        if isinstance(layer, torch.nn.Linear):

            def read(_, given, name=name):
                most[name] = max(most.get(name, 0.0), float(given[0].abs().max()))

            handles.append(layer.register_forward_pre_hook(read))
    with torch.no_grad():
        for text in PROMPTS:
            model.network(input_ids=torch.tensor([model.tokenizer(text)["input_ids"]]))
    for handle in handles:
        handle.remove()
    return sorted(most.items(), key=lambda pair: -pair[1])


if __name__ == "__main__":
    main()
