"""An example input as the call that it makes: `autoprune.models.inputs`, under the name that the engine uses."""

from __future__ import annotations

from autoprune.models.inputs.example import Example, as_example

__all__ = ["Example", "as_example"]
