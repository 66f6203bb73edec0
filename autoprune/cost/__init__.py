"""autoprune.cost"""
