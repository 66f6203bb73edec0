"""Energy of arithmetic, registers and DRAM at 45 nm (Horowitz, "Computing's energy problem", ISSCC 2014), and area.

The area of a multiplier and of a queue's slot are those of EIE's published PE. All figures here are recalled from the
papers and were not read again.
"""

from __future__ import annotations

__all__ = ["DRAM_PJ_PER_BYTE", "SOURCE", "multiplier_mm2", "multiply_add_pj", "register_pj", "slot_mm2"]

SOURCE = "Horowitz 2014, 45 nm (recalled)"

_BITS = 32  # of the table's numbers
_ADD, _MULTIPLY, _REGISTER, _DRAM = 0.1, 3.1, 1.0, 640.0  # pJ, whole numbers of 32 bits

_NODE = 45  # nm
_MULTIPLIER, _SLOT = 0.0032, 0.000758 / 8  # mm2: 0.5 % of a PE of 0.638 for 16 bits, and 0.1 % for a queue of 8

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


def multiplier_mm2(bits: int, node_nm: float = _NODE) -> float:
    """Square millimetres of a multiplier with its adder: they grow with the square of the bits."""
    return _MULTIPLIER * (bits / 16) ** 2 * (node_nm / _NODE) ** 2


def slot_mm2(node_nm: float = _NODE) -> float:
    """Square millimetres of one slot of a queue, an activation and its column."""
    return _SLOT * (node_nm / _NODE) ** 2
