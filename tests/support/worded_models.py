"""Small language models with a tokenizer that merges bytes into words, as large ones have: nothing is downloaded."""

import random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config

SPECIAL = ["<|end|>", "<|start|>"]
_WORDS = [
    "the",
    "state",
    "of",
    "a",
    "union",
    "is",
    "strong",
    "and",
    "we",
    "work",
    "for",
    "peace",
    "in",
    "1945",
    "people",
]


def prose(words=400, seed=0):
    """A text of drawn words."""
    draws = random.Random(seed)
    return " ".join(draws.choice(_WORDS) + ("." if draws.random() < 0.1 else "") for _ in range(words))


def word_tokenizer(size=400):
    """Byte-level BPE with merges learnt from prose; digits stand alone, as SmolLM2's do."""
    backend = Tokenizer(models.BPE())
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([prose(2000, seed) for seed in range(3)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=SPECIAL[1], eos_token=SPECIAL[0])


def worded_model(kind="llama", seed=0, **changes):
    """(network, tokenizer): two blocks, four query heads on two of keys and values, random weights."""
    tokenizer = word_tokenizer()
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
        "tie_word_embeddings": True,
    }
    config = {"llama": LlamaConfig, "qwen2": Qwen2Config}[kind](**(sizes | changes))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_config(config).float().eval()
        with torch.no_grad():
            for parameter in network.parameters():  # so that what a layer does shows in the logits
                parameter.mul_(3) if parameter.ndim > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
            _never_likeliest(network, tokenizer)
    return network, tokenizer


def _never_likeliest(network, tokenizer):
    """Special tokens and parts of letters, of which llama.cpp reports no probabilities when it comes to them."""
    for text, number in tokenizer.get_vocab().items():
        if text in SPECIAL or not tokenizer.decode([number]).isascii():
            network.get_output_embeddings().weight[number] = 0
