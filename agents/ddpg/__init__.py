"""Deep deterministic policy gradient, as AMC uses it."""
