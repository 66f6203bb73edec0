"""Dynamic inference: a gate chooses for each input one of a few widths of the rest of a network."""
