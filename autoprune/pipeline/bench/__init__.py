"""Dense against pruned on every target."""
