"""Masks that keep a pattern, drawn by a seed."""

import numpy as np


def column_balanced(outputs, inputs, pes, count, seed=0):
    """The same count of weights in every slice of a PE and a column; outputs are a multiple of the PEs."""
    draw = np.random.default_rng(seed)
    rows = outputs // pes
    order = np.argsort(draw.random((rows, pes, inputs)), axis=0)
    return (order < count).reshape(outputs, inputs)


def bank_balanced(outputs, inputs, banks, count, seed=0):
    """The same count of weights in each of a row's banks; inputs are a multiple of the banks."""
    draw = np.random.default_rng(seed)
    order = np.argsort(draw.random((outputs, banks, inputs // banks)), axis=2)
    return (order < count).reshape(outputs, inputs)


def n_of_m(outputs, inputs, n, m, seed=0):
    """N of each M neighbouring inputs; inputs are a multiple of M."""
    return bank_balanced(outputs, inputs, inputs // m, n, seed)
