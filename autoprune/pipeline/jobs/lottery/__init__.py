"""`autoprune lottery`: iterative magnitude pruning with rewinding, beside its controls, seed by seed."""
