"""GGUF files: a language model as stock llama.cpp loads it."""

from autoprune.llm.gguf.formats import FORMATS
from autoprune.llm.gguf.write import Written, write_gguf

__all__ = ["FORMATS", "Written", "write_gguf"]
