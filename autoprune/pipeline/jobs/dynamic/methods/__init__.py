"""The ways in which a network's work can depend on its input."""
