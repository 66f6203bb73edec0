"""Training after the cut: all weights with the zeros held, or small added matrices, by text and by the dense model."""
