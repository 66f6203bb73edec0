"""The physical cut: smaller tensors, slices of the same weights, dropped branches."""
