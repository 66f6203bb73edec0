"""Techniques: a model and a policy in, a smaller or sparser network out."""
