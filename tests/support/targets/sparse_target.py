"""A made-up GPU: layers with 2:4 kernels take half of the time, and a constant more."""

import json

from autoprune.hardware import Layer, Measurement
from tests.support.targets.formula_target import MadeUpTarget, stairs

EXTRA = 2e-2  # milliseconds of a call with sparse kernels


class SparseTarget(MadeUpTarget):
    """In 16 bits, with sparse kernels."""

    name = "made-up-gpu"
    precisions = ("f16",)
    variants = frozenset({"2:4"})

    def time(self, payloads, protocol, progress=None):
        found = []
        for payload in payloads:
            content = json.loads(payload)
            if "layer" in content and content["layer"].get("variant") == "2:4":
                ms = EXTRA + 0.5 * stairs(Layer.from_json(content["layer"]))
                found.append(Measurement(content["copies"] * ms, 0.0, 1, "formula", True))
            elif "layer" in content:
                ms = content["copies"] * stairs(Layer.from_json(content["layer"]))
                found.append(Measurement(ms, 0.0, 1, "formula", True))
            else:
                found += super().time([payload], protocol)
        return found
