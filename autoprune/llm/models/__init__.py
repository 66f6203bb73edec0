"""Causal language models of `transformers`, with their tokenizers: from a folder, a GGUF file, or a function."""
