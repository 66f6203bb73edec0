"""Latency tables: measuring layers, predicting networks, files."""
