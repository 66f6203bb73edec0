"""Trainings in which the mask changes: decided anew in every step, or announced by a pull on what will go."""
