"""autoprune.reports"""
