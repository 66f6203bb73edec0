"""Stock llama.cpp: what it computes from our GGUF files, and how fast."""

from autoprune.llm.llamacpp.agreement import Agreement, agreement
from autoprune.llm.llamacpp.rounding import tolerance_for
from autoprune.llm.llamacpp.session import LlamaCpp
from autoprune.llm.llamacpp.target import LlamaCppTarget
from autoprune.llm.llamacpp.timing import Speed, time_files

__all__ = ["Agreement", "LlamaCpp", "LlamaCppTarget", "Speed", "agreement", "time_files", "tolerance_for"]
