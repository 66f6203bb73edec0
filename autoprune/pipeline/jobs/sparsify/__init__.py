"""`autoprune sparsify`: masks of a pattern, trainings that keep them, and what they bring layer by layer."""
