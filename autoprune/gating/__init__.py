"""Dynamic inference: small gates decide for each input what of a network is computed."""
