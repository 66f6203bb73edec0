"""Structured pruning: channels, heads, widths and whole residual branches."""
