"""autoprune.training"""
