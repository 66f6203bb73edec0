"""autoprune.hardware"""
