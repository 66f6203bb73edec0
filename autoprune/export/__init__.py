"""From a network to the formats of other runtimes."""
