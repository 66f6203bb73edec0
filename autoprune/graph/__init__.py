"""autoprune.graph"""
