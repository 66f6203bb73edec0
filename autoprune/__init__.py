"""autoprune: a trained network goes in, a network that meets its latency budget comes out."""
