"""Networks, a module a kind."""
