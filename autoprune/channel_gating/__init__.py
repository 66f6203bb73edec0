"""Dynamic channels: gates choose for each input which channels of a convolution are computed."""
