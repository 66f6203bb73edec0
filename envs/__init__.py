"""The pruning environment: a network's decisions, one a step, inside a budget."""

if __name__ != "autoprune.envs":
    raise ImportError("import autoprune.envs; the folder envs/ is not a package of its own")
