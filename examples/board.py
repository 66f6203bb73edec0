"""A device of your own as a target: `--target examples.board:Board`.

Here the device is this machine, so that the example runs anywhere. For a real one change `command`.
"""

import sys
from pathlib import Path

from autoprune.hardware import PipeTarget

WORKER = Path(__file__).with_name("board_worker.py")


class Board(PipeTarget):
    """A board that runs onnxruntime."""

    name = "board"
    channel_multiple = 4  # widths in multiples of this are tried
    channel_multiple_reason = "onnxruntime's kernels work on 4 input channels at a time"
    # What the runtime executes inside the convolution before it.
    fused = frozenset({"batch_norm", "relu", "hardtanh", "clamp", "add"})
    patience = 60.0  # seconds without a line from the device

    def command(self) -> list[str]:
        """Start `board_worker.py` on the device, its standard input and output connected to ours."""
        # A board over ssh: return ["ssh", "me@board", "python3 board_worker.py"]
        # A phone over adb: return ["adb", "shell", "cd /data/local/tmp && python3 board_worker.py"]
        return [sys.executable, str(WORKER)]
