"""Fine-tunings of several networks at the same time: one contract, a place a file."""
