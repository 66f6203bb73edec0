"""autoprune.models"""
