"""Residual branches that can be dropped: found in the graph."""
