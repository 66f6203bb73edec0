"""Our closed forms of systolic arrays against SCALE-Sim, which is run as a program of its own where it is installed.

    python -m venv /tmp/scalesim && /tmp/scalesim/bin/pip install scalesim==3.0.0 'numpy<2.4'
    python benchmarks/codesign_crosscheck.py --scalesim /tmp/scalesim/bin/python

SCALE-Sim's "Compute cycles" are compared (in its report's file "Total Cycles", without stalls), and not those that
version 3 adds for prefetching. N:M is compared
where it can do that: weights standing still, the first N of each M. Prints one line a case, and ends with exit code 1
where one differs.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from autoprune.hardware.accelerators import LayerWork, load_accelerator

# (positions, outputs, inputs), (rows, columns), dataflow, (N, M)
CASES = (
    ((196, 32, 288), (16, 16), "os", (1, 1)),
    ((196, 32, 288), (16, 16), "ws", (1, 1)),
    ((196, 32, 288), (16, 16), "ws", (2, 8)),
    ((196, 32, 288), (16, 16), "ws", (4, 8)),
    ((196, 32, 288), (16, 16), "ws", (1, 4)),
    ((196, 32, 288), (16, 16), "ws", (2, 4)),
    ((784, 16, 144), (16, 16), "os", (1, 1)),
    ((784, 16, 144), (8, 32), "ws", (1, 1)),
    ((49, 64, 576), (8, 8), "os", (1, 1)),
    ((49, 64, 576), (32, 8), "ws", (1, 1)),
    ((49, 64, 576), (32, 8), "ws", (1, 8)),
    ((1, 10, 64), (16, 16), "ws", (1, 1)),
    ((1, 10, 64), (16, 16), "os", (1, 1)),
    ((100, 37, 51), (12, 20), "os", (1, 1)),
    ((100, 37, 51), (12, 20), "ws", (1, 1)),
    ((64, 48, 96), (16, 4), "ws", (2, 4)),
)

_DATAFLOWS = {"ws": "weight_stationary", "os": "output_stationary"}

_CONFIG = """[general]
run_name = check
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {columns}
ifmapsramszkB = 512
filtersramszkB = 512
ofmapsramszkB = 512
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = {dataflow}
Bandwidth = 64
ReadRequestBuffer = 64
WriteRequestBuffer = 64
[layout]
IfmapCustomLayout = False
FilterCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = {sparse}
SparseRep = ellpack_block
OptimizedMapping = False
BlockSize = {m}
RandomNumberGeneratorSeed = 40
"""


def ours(product, array, dataflow, kept):
    """Cycles by the template `systolic`."""
    positions, outputs, inputs = product
    n, m = kept
    knobs = {"array.rows": array[0], "array.columns": array[1], "array.dataflow": _DATAFLOWS[dataflow]}
    chip = load_accelerator("systolic").with_knobs({**knobs, "pattern": "dense" if m == 1 else f"{n}:{m}"})
    mask = np.broadcast_to(np.arange(inputs) % m < n, (outputs, inputs)).copy()
    return int(chip.price(LayerWork("product", mask, np.ones((1, inputs)), positions=positions)).cycles)


def theirs(python, product, array, dataflow, kept):
    """SCALE-Sim's "Compute cycles"."""
    positions, outputs, inputs = product
    n, m = kept
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        sparse = "True" if m > 1 else "False"
        text = _CONFIG.format(rows=array[0], columns=array[1], dataflow=dataflow, sparse=sparse, m=m)
        (there / "check.cfg").write_text(text)
        (there / "check.csv").write_text(f"Layer,M,N,K,Sparsity,\nproduct,{positions},{outputs},{inputs},{n}:{m},\n")
        (there / "layout.csv").write_text("Layer" + ",x" * 20 + ",\nproduct" + ",1" * 20 + ",\n")
        command = [python, "-m", "scalesim.scale", "-c", "check.cfg", "-t", "check.csv", "-l", "layout.csv"]
        command += ["-p", str(there / "out"), "-i", "gemm", "-s", "N"]
        done = subprocess.run(command, cwd=there, capture_output=True, text=True, check=False)
        reports = list(there.glob("out/*/COMPUTE_REPORT.csv"))
        if not reports:
            raise SystemExit(f"SCALE-Sim failed:\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
        with reports[0].open() as file:
            row = next(csv.DictReader(file, skipinitialspace=True))
        return int(float(row["Total Cycles"]) - float(row["Stall Cycles"]))


def main() -> None:
    """Compare all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scalesim", default=sys.executable, help="the Python that has scalesim")
    arguments = parser.parse_args()
    differing = 0
    for case in CASES:
        mine, reference = ours(*case), theirs(arguments.scalesim, *case)
        differing += mine != reference
        print(f"{case!s:60} ours {mine:7d}  SCALE-Sim {reference:7d}  {'' if mine == reference else 'DIFFERS'}")
    raise SystemExit(1 if differing else 0)


if __name__ == "__main__":
    main()
