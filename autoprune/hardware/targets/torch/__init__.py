"""PyTorch: eager, compiled, on CUDA."""
