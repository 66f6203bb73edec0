"""Patterns of zeros: which weights of a tensor may stay, by exact counts, and the files that hold such masks."""
