"""From a module to its traced graph."""
