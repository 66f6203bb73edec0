"""What of the GPU targets can be checked without a GPU: events, capture, refusals, what nvidia-smi says."""

import contextlib
import gc
import importlib.util
import os
import weakref

import pytest
import torch

from autoprune.hardware import Layer, Protocol, get_target
from autoprune.hardware.sensors.gpu import GpuIdentity, first_gpu
from autoprune.hardware.targets.torch.cuda import CudaClock, captured

_QUICK = Protocol(block=0.01, warmup=2, least_blocks=3, most_blocks=10)


class FakeCuda:
    """`torch.cuda` on a GPU whose clock counts calls of `work`, 2 ms each; it writes down what is asked of it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.ms = 0.0
        cuda = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                self.at = cuda.ms

            def synchronize(self) -> None:
                cuda.log.append("event reached")

            def elapsed_time(self, other) -> float:
                return other.at - self.at

        class Stream:
            def wait_stream(self, other) -> None:
                cuda.log.append("wait")

        class CUDAGraph:
            def replay(self) -> None:
                cuda.log.append("replay")

        self.Event, self.Stream, self.CUDAGraph = Event, Stream, CUDAGraph
        self._stream = Stream()

    def work(self) -> str:
        self.ms += 2.0
        self.log.append("work")
        return "output"

    def synchronize(self) -> None:
        self.log.append("idle")

    def current_stream(self):
        return self._stream

    def stream(self, stream):
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def graph(self, graph):
        self.log.append("capture")
        yield
        self.log.append("captured")


def test_events_stand_around_the_calls_and_start_on_an_idle_gpu() -> None:
    cuda = FakeCuda()
    seconds, _ = CudaClock(cuda).sample(cuda.work, 3)
    assert seconds == pytest.approx(0.006)
    assert cuda.log == ["idle", "work", "work", "work", "event reached"]


def test_a_graph_is_captured_after_a_warm_up_and_replayed_without_new_launches() -> None:
    cuda = FakeCuda()
    replay = captured(cuda.work, cuda)
    assert cuda.log == ["wait", "work", "work", "work", "wait", "capture", "work", "captured"]
    cuda.log.clear()
    assert [replay(), replay()] == ["output", "output"] and cuda.log == ["replay", "replay"]


def test_a_graph_of_nothing_holds_one_small_kernel() -> None:
    layer = Layer("linear", 64, 10)
    eager, graphs = get_target("cuda"), get_target("cuda-graphs")
    assert graphs.pack_layer(layer, 1) == eager.pack_layer(layer, 1)
    assert b"elementwise" in graphs.pack_layer(layer, 0) and b'"copies": 1' in graphs.pack_layer(layer, 0)


def test_why_there_is_no_cuda(monkeypatch) -> None:
    target = get_target("cuda")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built without CUDA; install" in target.available()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA device is seen" in target.available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert target.available() is None


def test_why_onnxruntime_has_no_gpu(monkeypatch) -> None:
    import onnxruntime

    import autoprune.hardware.targets.onnx.cuda as module

    cuda, tensorrt = get_target("onnxruntime-cuda"), get_target("onnxruntime-tensorrt")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "pip install onnxruntime-gpu" in cuda.available() and "TensorrtExecutionProvider" in tensorrt.available()
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(module, "first_gpu", lambda: None)
    assert "no NVIDIA GPU" in cuda.available()
    monkeypatch.setattr(module, "first_gpu", lambda: GpuIdentity("Orin", "8.7", "540.4"))
    assert cuda.available() is None
    assert {"gpu": "Orin", "capability": "8.7", "driver": "540.4"}.items() <= cuda.fingerprint().items()
    if importlib.util.find_spec("tensorrt_libs") is None:
        assert "pip install tensorrt" in tensorrt.available()
    assert [name for name, _ in tensorrt.providers()] == names[:2] and cuda.providers()[0][1]["use_tf32"] == 0


def test_what_nvidia_smi_says(monkeypatch, tmp_path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$1" = "--id=1" ] && echo "NVIDIA H100, 80GB, 9.0, 575.51" || exit 6\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert first_gpu() == GpuIdentity("NVIDIA H100, 80GB", "9.0", "575.51")
    for nothing in ("7", "-1", ""):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert first_gpu() is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda-graphs"])
def test_more_work_takes_longer_on_a_gpu(name) -> None:
    target = get_target(name)
    square = {"size": (56, 56), "out_size": (56, 56), "stride": (1, 1), "dilation": (1, 1)}
    layers = [Layer("conv", width, width, batch=32, kernel=(3, 3), padding=(1, 1), **square) for width in (64, 512)]
    empty, thin, wide = target.time(
        [target.pack_layer(layers[0], 0), *(target.pack_layer(x, 1) for x in layers)], _QUICK
    )
    assert empty.ms < thin.ms < wide.ms / 4 and wide.clock == "cuda-events"
    assert target.fingerprint()["gpu"] == torch.cuda.get_device_name()


def test_a_graph_keeps_alive_what_it_reads_and_what_it_writes() -> None:
    cuda = FakeCuda()

    class Weights:
        pass

    weights = Weights()
    read = weakref.ref(weights)
    replay = captured(lambda held=weights: cuda.work(), cuda)
    del weights
    gc.collect()
    assert read() is not None
    del replay
    gc.collect()
    assert read() is None


def test_the_version_is_that_of_whatever_distribution_brings_the_module(monkeypatch) -> None:
    from autoprune.hardware.targets.onnx import cpu as onnx_runtime

    def there(brought, versions):
        onnx_runtime.installed_version.cache_clear()
        monkeypatch.setattr(onnx_runtime, "packages_distributions", lambda: brought)
        monkeypatch.setattr(onnx_runtime, "version", versions.__getitem__)

    there({"onnxruntime": ["onnxruntime-gpu"], "tensorrt_libs": ["tensorrt-cu12-libs"]},
          {"onnxruntime-gpu": "1.31.1", "tensorrt-cu12-libs": "10.9"})  # fmt: skip
    assert get_target("onnxruntime").versions()["runtime"] == "onnxruntime 1.31.1 CPU"
    assert get_target("onnxruntime-tensorrt").versions()["tensorrt"] == "10.9"
    there({"onnxruntime": ["onnxruntime", "onnxruntime-gpu"]}, {"onnxruntime": "1.30", "onnxruntime-gpu": "1.31"})
    assert get_target("onnxruntime-cuda").versions()["runtime"] == "onnxruntime 1.31 CUDA"
    onnx_runtime.installed_version.cache_clear()


def test_a_session_that_fell_back_to_the_processor_is_no_gpu_s(monkeypatch) -> None:
    layer = Layer("linear", 64, 10)
    payload = get_target("onnxruntime").pack_layer(layer, 1)
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: None, raising=False)
    target = get_target("onnxruntime-cuda")
    monkeypatch.setattr(type(target), "providers", lambda self: [("CPUExecutionProvider", {})])
    for call in (target.load, lambda content: target.compute(content, None)):
        with pytest.raises(RuntimeError, match="CUDAExecutionProvider could not be loaded"):
            call(payload)
