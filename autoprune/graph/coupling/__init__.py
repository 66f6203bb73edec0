"""Which units must be removed together, read off the traced graph."""
