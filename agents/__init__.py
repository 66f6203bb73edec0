"""Agents that fill in a policy: one file an agent, one contract, one registry."""

if __name__ != "autoprune.agents":
    raise ImportError("import autoprune.agents; the folder agents/ is not a package of its own")
