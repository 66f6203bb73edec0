"""autoprune.cli"""
