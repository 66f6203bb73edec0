"""What runs on the device: reads requests, times networks, writes answers, a JSON object a line.

Needs Python, numpy and onnxruntime, nothing of autoprune. Copy it to the device; in another language, keep the lines.
"""

import base64
import contextlib
import json
import os
import platform
import sys
import time

import numpy as np
import onnxruntime


def device() -> str:
    """What tells this device from others: a latency table of one must not serve another."""
    for path in ("/proc/device-tree/model", "/proc/cpuinfo"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
            named = [line for line in lines if "device-tree" in path or line.startswith(("model name", "CPU part"))]
            if named:
                return ", ".join(dict.fromkeys(line.split(":")[-1].strip().rstrip("\0") for line in named))
    return platform.processor() or platform.machine()


def load(network: bytes, threads: int):
    """A call without arguments that is one inference."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for value in session.get_inputs():
        binding.bind_cpu_input(value.name, np.zeros(value.shape, np.float32))
    for value in session.get_outputs():
        binding.bind_output(value.name)
    return lambda: session.run_with_iobinding(binding)


def block(call, clock, seconds: float, loops: int) -> float:
    """Milliseconds a call: the 20th percentile of samples that fill a block."""
    samples = []
    while sum(samples) < seconds or len(samples) < 5:
        start = clock()
        for _ in range(loops):
            call()
        samples.append(clock() - start)
    return sorted(samples)[len(samples) // 5] / loops * 1e3


def agree(blocks: list[float], protocol: dict) -> bool:
    """Whether enough blocks were taken and the three smallest lie close together."""
    low = sorted(blocks)[:3]
    return len(blocks) >= protocol["least_blocks"] and low[-1] - low[0] <= protocol["agreement"] * low[1]


def time_networks(networks: list[bytes], protocol: dict, threads: int, say) -> list[list[float]]:
    """Blocks of every network in milliseconds, the networks in turn, until their blocks agree."""
    clock = time.thread_time if threads == 1 else time.perf_counter  # the first does not see preemption
    calls, loops = [], []
    for network in networks:
        call = load(network, threads)
        once = min(block(call, clock, 0, 1) for _ in range(protocol["warmup"])) / 1e3
        calls.append(call)
        loops.append(max(1, min(10_000, int(protocol["sample"] / max(once, 1e-7)) + 1)))
        say({"alive": [0, len(networks)]})
    blocks: list[list[float]] = [[] for _ in calls]
    for _ in range(protocol["most_blocks"]):
        pending = [i for i in range(len(calls)) if not agree(blocks[i], protocol)]
        for i in pending:
            blocks[i].append(block(calls[i], clock, protocol["block"], loops[i]))
            say({"alive": [len(calls) - len(pending), len(calls)]})
    return blocks


def main() -> None:
    """Serve until standard input is closed."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the runtime prints must not mix with the answers

    def say(message: dict) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    hello = json.loads(sys.stdin.readline())
    say({"ready": {"device": device(), "runtime": onnxruntime.__version__}})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            networks = [base64.b64decode(network) for network in request["time"]]
            say({"blocks": time_networks(networks, request["protocol"], hello["threads"], say)})
        except Exception as error:  # noqa: BLE001 - whatever the runtime raises is worth telling
            say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
