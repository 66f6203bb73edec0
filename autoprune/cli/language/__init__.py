"""`autoprune llm`: the commands for language models."""
