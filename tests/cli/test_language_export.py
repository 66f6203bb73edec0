"""`autoprune llm export`: structured runs as files that stock programs load."""

import json

import pytest
import torch

from autoprune.llm.models.base import LanguageModel
from tests.support.command_line import tree
from tests.support.worded_models import prose, worded_model

SMALL = ["--context", "32", "--tokens", "200", "--windows", "4", "--window-length", "32"]


def factory():
    return worded_model(num_hidden_layers=3)


@pytest.fixture
def run(autoprune, folder):
    """What `llm prune` left of a model that lost a block."""
    (folder / "learn.txt").write_text(prose(500))
    (folder / "speech.txt").write_text(prose(300, 7))
    model = ["--model", f"{__name__}:factory", "--calibration", "learn.txt", "--text", "speech.txt", *SMALL]
    done = autoprune("llm", "prune", *model, "--method", "depth", "--ratio", "34%", "--run", "job")
    assert done.code == 0, done.err
    report = json.loads((folder / "runs/job/report.json").read_text())
    assert report["pruned"]["params"] < report["dense"]["params"] and len(report["details"]["blocks"]) == 1
    return "runs/job"


def test_a_run_leaves_as_a_folder_as_weights_and_as_a_gguf_file(autoprune, folder, run):
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    done = autoprune("llm", "export", run, "--out", "small")
    assert done.code == 0 and "MiB" in done.out, done.err
    network = AutoModelForCausalLM.from_pretrained("small")
    assert network.config.num_hidden_layers == 2
    assert AutoTokenizer.from_pretrained("small")("the state")["input_ids"]
    assert autoprune("llm", "export", run, "--format", "safetensors", "--out", "small.safetensors").code == 0
    weights = load_file("small.safetensors")
    assert "lm_head.weight" not in weights  # tied
    assert all(torch.equal(weights[name], network.state_dict()[name]) for name in weights)
    pytest.importorskip("xllamacpp")
    done = autoprune("llm", "export", run, "--format", "gguf", "--type", "f32", "--out", "small.gguf")
    assert done.code == 0, done.err
    assert "llama.cpp beside PyTorch" in done.out and "more than rounding" not in done.out


def in_bfloat16():
    network, tokenizer = worded_model(num_hidden_layers=1)
    return network.bfloat16(), tokenizer


def test_a_folder_for_openvino_is_compared_timed_and_judged(autoprune, folder):
    pytest.importorskip("openvino")
    (folder / "speech.txt").write_text(prose(300, 7))
    model = f"{__name__}:in_bfloat16"
    done = autoprune("llm", "export", model, "--format", "openvino", "--type", "q8_0", "--out", "it", "--time", "8")
    assert done.code == 0, done.err
    assert "OpenVINO beside PyTorch" in done.out and "tokens/s" in done.out
    perplexities = []
    for place in ("it", model):
        judge = ["--text", "speech.txt", "--context", "32", "--tokens", "200", "--json", "figures.json"]
        done = autoprune("llm", "eval", place, *judge)
        assert done.code == 0, done.err
        perplexities.append(json.loads((folder / "figures.json").read_text())["texts"][0]["perplexity"])
    assert perplexities[0] == pytest.approx(perplexities[1], rel=0.03)
    done = autoprune("llm", "export", model, "--format", "openvino", "--type", "q4_1", "--out", "other")
    assert done.code == 2 and "q4_1 is llama.cpp's alone" in done.err and not (folder / "other").exists()
    done = autoprune("llm", "export", model, "--format", "openvino", "--out", "speech.txt")
    assert done.code == 2 and "writes a folder" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ffn", "heads", "hidden", "vocabulary"])
def test_every_method_gives_a_run_that_llama_cpp_loads(autoprune, folder, method):
    pytest.importorskip("xllamacpp")
    (folder / "learn.txt").write_text(prose(30) + prose(500, 2).replace("peace", "war"))
    (folder / "speech.txt").write_text(prose(300, 7))
    model = ["--model", f"{__name__}:factory", "--calibration", "learn.txt", "--text", "speech.txt", *SMALL]
    ratio = "5%" if method == "vocabulary" else "50%"
    done = autoprune("llm", "prune", *model, "--method", method, "--ratio", ratio, "--run", "job")
    assert done.code == 0, done.err
    done = autoprune("llm", "export", "runs/job", "--format", "gguf", "--type", "f32", "--out", "small.gguf")
    assert done.code == 0 and "more than rounding" not in done.out, done.out + done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "ggml", "--out", "x"], "--format 'ggml' is none of hf, gguf, openvino, safetensors"),
        (["--format", "gguf", "--type", "q5", "--out", "x.gguf"], "GGUF is not written as 'q5'"),
        (["--out", "taken"], "taken is a folder with something in it"),
        (["--format", "gguf", "--out", "taken"], "taken is a folder; give another --out"),
        (["--time", "64", "--out", "x"], "--time is for --format gguf"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_left(autoprune, folder, options, message):
    (folder / "taken").mkdir()
    (folder / "taken" / "work.txt").write_text("mine")
    before = tree(folder)
    outcome = autoprune("llm", "export", f"{__name__}:factory", *options)
    assert (outcome.code, outcome.lines) == (2, 1), outcome.err
    assert message in outcome.error
    assert tree(folder) == before


def test_a_model_that_llama_cpp_computes_otherwise_is_refused(autoprune, folder):
    outcome = autoprune("llm", "export", f"{__name__}:other", "--format", "gguf", "--out", "x.gguf")
    assert (outcome.code, outcome.lines) == (2, 1), outcome.err
    assert "not for gpt2" in outcome.error and not list(folder.iterdir())


def other():
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = factory()[1]
    return LanguageModel(GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=16, n_layer=1, n_head=2)), tokenizer, "it")
