"""Zeros in a language model's weights, in one pass over a calibration text, block by block."""
