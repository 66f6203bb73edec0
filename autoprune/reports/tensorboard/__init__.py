"""Searches and progressive runs in TensorBoard."""
