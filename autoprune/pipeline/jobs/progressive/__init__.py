"""Progressive pruning: prune a little, measure on the device, adjust."""
