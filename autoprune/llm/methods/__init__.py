"""What `autoprune llm prune --method` can do, a file a family of methods."""
