"""Energy of arithmetic, registers and DRAM at 45 nm (Horowitz, "Computing's energy problem", ISSCC 2014).

The figures are recalled from the paper and were not read again.
"""

from __future__ import annotations

__all__ = ["DRAM_PJ_PER_BYTE", "SOURCE", "multiply_add_pj", "register_pj"]

SOURCE = "Horowitz 2014, 45 nm (recalled)"

_BITS = 32  # of the table's numbers
_ADD, _MULTIPLY, _REGISTER, _DRAM = 0.1, 3.1, 1.0, 640.0  # pJ, whole numbers of 32 bits

DRAM_PJ_PER_BYTE = _DRAM / (_BITS / 8)


def multiply_add_pj(bits: int) -> float:
    """One multiplication of whole numbers and one addition: the first grows with the square of the bits.

    >>> round(multiply_add_pj(16), 3)
    0.825
    """
    return _MULTIPLY * (bits / _BITS) ** 2 + _ADD * bits / _BITS


def register_pj(bits: int) -> float:
    """One access to a register of so many bits."""
    return _REGISTER * bits / _BITS
