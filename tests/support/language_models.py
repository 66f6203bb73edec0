"""Small language models with random weights, a tokenizer of bytes, and texts: nothing is downloaded."""

import random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from autoprune.llm.models.base import LanguageModel

VOCABULARY = 260
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 257,
}
_GROUPED = _SIZES | {"num_key_value_heads": 2}

CONFIGS = {
    "llama": lambda: LlamaConfig(**_GROUPED, tie_word_embeddings=True),
    "llama-untied": lambda: LlamaConfig(**_GROUPED, tie_word_embeddings=False),
    "qwen2": lambda: Qwen2Config(**_GROUPED),
    "gemma": lambda: GemmaConfig(**_GROUPED, head_dim=16),
    "phi": lambda: PhiConfig(**_SIZES),
    "neox": lambda: GPTNeoXConfig(**_SIZES),
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY, n_embd=64, n_inner=96, n_layer=2, n_head=4, n_positions=128, bos_token_id=256,
        eos_token_id=257,
    ),
    "opt": lambda: OPTConfig(
        vocab_size=VOCABULARY, hidden_size=64, word_embed_proj_dim=64, ffn_dim=96, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=128, bos_token_id=256, eos_token_id=257, pad_token_id=257,
    ),
}  # fmt: skip


def language_model(kind="llama", seed=0, **changes):
    """A model whose weights are drawn; layers, widths and dtype as the config says."""
    config = CONFIGS[kind]()
    for name, value in changes.items():
        setattr(config, name, value)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_config(config).float().eval()
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(3)  # so that what a layer does shows in the logits
    return LanguageModel(network, byte_tokenizer(), kind)


def byte_tokenizer(start=False):
    """A token for each byte, and three special ones behind them; `start` puts the first of these before each text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "</s>", "<pad>"])
    if start:
        from tokenizers.processors import TemplateProcessing

        backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def prose(words=600, seed=0):
    """A text of drawn words, as a Markov chain of few states, so that a model can learn something."""
    draws = random.Random(seed)
    known = ["the", "state", "of", "a", "union", "is", "strong", "and", "we", "will", "work", "for", "peace"]
    return " ".join(draws.choice(known) + ("." if draws.random() < 0.1 else "") for _ in range(words)) + "\n"
