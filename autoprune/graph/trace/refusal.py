"""What is said of a model that cannot be traced: where, why, and what to change."""

from __future__ import annotations

import traceback

from autoprune.graph.trace.source_lines import exception_line, user_line

__all__ = ["cannot_trace"]

# (part of the exception's type or text, what it means, what to do)
_VALUES = "what it does depends on values in a tensor"
_MASKS = "write it with torch.where or masks, or take it out of forward"
_CAUSES = (
    ("DataDependent", _VALUES, _MASKS),
    ("UserError", _VALUES, _MASKS),
    ("numpy()", "it leaves torch for NumPy", "write it with torch operators, or take it out of forward"),
    ("Mutating", "it changes the module's attributes", "keep state in registered buffers"),
    ("assigned during export", "it changes the module's attributes", "keep state in registered buffers"),
)
_ELSE = ("", "torch.export cannot trace it", "make it free of what torch cannot record")


def cannot_trace(error: BaseException) -> str:
    """Two lines: what in the forward cannot be traced, with the user's source line, and what to change."""
    text = f"{type(error).__name__}: {error}"
    _, why, remedy = next((cause for cause in _CAUSES if cause[0] in text), _ELSE)
    line = user_line((frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__))
    place = f" at {line}" if line else ""
    return (
        f"the model cannot be traced{place}: {why} ({exception_line(error)})\n"
        f"{remedy}; or hand over the part of the model that is to be pruned"
    )
