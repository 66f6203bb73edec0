"""The work of a network's layers: their masks as matrices, and samples of the activations that they are given."""
