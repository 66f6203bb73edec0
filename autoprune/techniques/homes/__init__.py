"""Where candidates are scored: one contract, a home a file."""
