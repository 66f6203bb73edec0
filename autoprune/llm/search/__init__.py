"""The search of `autoprune llm compress`: how many blocks, neurons, heads and channels of a language model stay."""
