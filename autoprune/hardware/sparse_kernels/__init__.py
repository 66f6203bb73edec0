"""Sparse tensor cores: which layers their kernels can run, the conversion, and whether it pays, by measurement."""
