"""autoprune.pruning"""
