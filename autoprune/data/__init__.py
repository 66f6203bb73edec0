"""autoprune.data"""
