"""Zeros inside of layers that keep their shape: N:M sparsity as a decision of the search."""
