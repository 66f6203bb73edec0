"""The ONNX operator set that networks and single layers are written in: one for both, known without torch."""

from __future__ import annotations

__all__ = ["OPSET"]

OPSET = 20
