"""A runtime whose latencies are a formula of the file that it is handed, so that choices are known beforehand."""

from typing import ClassVar

import numpy as np
import onnx

from autoprune.export.onnx_network import precision_of
from autoprune.hardware import Measurement
from autoprune.hardware.targets.onnx.cpu import OnnxRuntimeTarget


class ByBytes(OnnxRuntimeTarget):
    """A tenth of a millisecond, and one a megabyte; signed activations take twice, unsigned weights thrice as long."""

    name: ClassVar[str] = "by-bytes"

    def time(self, payloads, protocol, progress=None):
        return [Measurement(self.ms(payload), 0.0, 1, "formula", True) for payload in payloads]

    def session(self):
        import contextlib

        return contextlib.nullcontext(self)

    def ms(self, payload):
        model = onnx.load_from_string(payload)
        zeros = {tensor.name: tensor.data_type for tensor in model.graph.initializer if tensor.name.endswith("_zero")}
        weights = {kind for name, kind in zeros.items() if name.endswith("_weight_zero")}
        activations = {kind for name, kind in zeros.items() if not name.endswith("_weight_zero")}
        factor = 2 if onnx.TensorProto.INT8 in activations else 1
        return 0.1 + len(payload) / 1e6 * factor * (3 if onnx.TensorProto.UINT8 in weights else 1)


class Slow(ByBytes):
    """Integers never pay."""

    name: ClassVar[str] = "slow"

    def ms(self, payload):
        return 1.0 if b"QuantizeLinear" in payload else 0.5


class InHalves(Slow):
    """16 bits pay where integers do not; in float16 every output is 0."""

    name: ClassVar[str] = "in-halves"
    halves: ClassVar[tuple[str, ...]] = ("bf16", "f16")

    def ms(self, payload):
        return super().ms(payload) if precision_of(payload) is None else 0.25

    def caller(self, payload):
        call = super().caller(payload)
        if precision_of(payload) != "f16":
            return call
        return lambda inputs: [np.zeros_like(each) for each in call(inputs)]
