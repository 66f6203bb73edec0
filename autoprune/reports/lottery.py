"""What a study of lottery tickets came to: a table and sentences for the terminal, rows for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autoprune.reports.format import MINUS, NONE, count, milliseconds, percent
from autoprune.run.report import Report
from autoprune.run.score import ScoreSpec

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "arms_in",
    "density_rows",
    "difference_rows",
    "is_lottery",
    "lottery_lines",
    "lottery_tables",
    "score_rows",
    "tables_of",
]

Content = Mapping[str, Any]

_JUDGED = 3  # seeds; of fewer nothing is said


def is_lottery(content: Content) -> bool:
    """Whether a report is that of a study of lottery tickets."""
    return isinstance(content.get("lottery"), Mapping) and isinstance(content.get("rounds"), Sequence)


def arms_in(content: Content) -> list[str]:
    """The ticket and its controls."""
    return ["ticket", *content["lottery"]["controls"]]


def score_rows(content: Content) -> list[list[str]]:
    """The header and a row for every round: the scores of all arms."""
    spec, arms = Report.of(content).score_spec, arms_in(content)
    rows = [["round", "weights kept", *arms]]
    for one in content["rounds"]:
        scores = [spec.with_spread(one[arm][f"{spec.key}_mean"], one[arm][f"{spec.key}_std"]) for arm in arms]
        rows.append([str(one["round"]), percent(one["density"], 1), *scores])
    return rows


def difference_rows(content: Content) -> list[list[str]]:
    """The header and a row for every round but the first: the ticket's paired differences."""
    spec, others = Report.of(content).score_spec, ["dense", *content["lottery"]["controls"]]
    found = {(one["round"], one["against"]): one for one in content["lottery"]["comparisons"]}
    rows = [["round", "weights kept", *(f"ticket {MINUS} {name}" for name in others)]]
    for one in content["rounds"][1:]:
        against = [_difference(found.get((one["round"], name)), spec) for name in others]
        rows.append([str(one["round"]), percent(one["density"], 1), *against])
    return rows


def transfer_rows(content: Content) -> list[list[str]]:
    """The header and a row for every place that tickets were carried over to."""
    spec = Report.of(content).score_spec
    shown = {"dense": "dense", "native": "found there", "ticket": "ticket", "mask": "mask alone", "random": "random"}
    rows = [["carried over to", *shown.values(), f"ticket {MINUS} random", f"mask {MINUS} random"]]
    for one in content["lottery"].get("transfer", ()):
        scores = [spec.with_spread(one[arm][f"{spec.key}_mean"], one[arm][f"{spec.key}_std"]) for arm in shown]
        found = {(each["of"], each["against"]): each for each in one["comparisons"]}
        rows.append([one["to"], *scores, *(_difference(found.get((of, "random")), spec) for of in ("ticket", "mask"))])
    return rows


def form_rows(content: Content) -> list[list[str]]:
    """The header and a row for the dense network, the ticket, and every form that it was turned into."""
    spec, forms = Report.of(content).score_spec, content["lottery"].get("forms")
    rows = [["form", spec.name, "parameters", "ms on the target", "ms promised", "what is lost"]]
    if forms is None:
        return rows
    promised = forms.get("promised_ms", {})
    for name, ms in forms["latency_ms"].items():
        one = forms.get(name, {})
        score = spec.text(one[f"{spec.key}_mean"]) if one else NONE
        lost = f"{percent(one['magnitude_lost'], 1)} of the magnitude" if "magnitude_lost" in one else NONE
        if "before_retraining" in one:
            lost += f" ({spec.text(one['before_retraining'])} before it is trained again)"
        said = milliseconds(promised[name]) if name in promised else NONE
        rows.append([name, score, count(one["params"]) if one else NONE, milliseconds(ms), said, lost])
    if (csr := forms.get("csr")) is not None:
        times = f"{milliseconds(csr['csr_ms'])} in PyTorch, dense {milliseconds(csr['dense_ms'])}"
        stored = ", ".join(csr["chosen"]) or "no layer is faster"
        rows.append([f"csr ({stored})", NONE, NONE, times, NONE, NONE])
    return rows


def density_rows(content: Content) -> list[list[str]]:
    """The header and a row for every round: units alive, and what ticket and forms take where they were timed."""
    spec, densities = Report.of(content).score_spec, content["lottery"].get("densities", ())
    timed = list(dict.fromkeys(name for one in densities for name in one.get("latency_ms", ()) if name != "dense"))
    scored = list(dict.fromkeys(name for one in densities for name in one.get("forms", ())))
    has_rows = any("csr" in one for one in densities)
    rows = [["round", "weights kept", "units alive", *(f"{name}, ms" for name in timed)]]
    rows[0] += ["csr / dense in PyTorch"] * has_rows + [f"{name}, {spec.name}" for name in scored]
    for one in densities:
        alive, units = (sum(pair[place] for pair in one["units_alive"].values()) for place in (0, 1))
        times = one.get("latency_ms", {})
        times = {"ticket": times["dense"], **times} if times else times  # of round 0, before anything is pruned
        shown = [milliseconds(times[name]) if name in times else NONE for name in timed]
        if has_rows:
            shown.append(f"{one['csr']['csr_ms'] / one['csr']['dense_ms']:.2f}" if "csr" in one else NONE)
        forms = one.get("forms", {})
        shown += [spec.text(forms[name][f"{spec.key}_mean"]) if name in forms else NONE for name in scored]
        rows.append([str(one["round"]), percent(one["density"], 1), f"{alive}/{units}", *shown])
    return rows


def tables_of(content: Content) -> list[list[list[str]]]:
    """Header and rows of every table: scores, differences, densities; transfer and forms where there were some."""
    makers = (score_rows, difference_rows, transfer_rows, form_rows, density_rows)
    found = [rows_of(content) for rows_of in makers]
    return [table for table in found if len(table) > 1]


def lottery_tables(content: Content) -> list[Table]:
    """Scores, differences and transfer, for the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    tables = []
    for header, *rows in tables_of(content):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in header:
            table.add_column(name, justify="right", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        tables.append(table)
    return tables


def lottery_lines(content: Content) -> list[str]:
    """The sentences under the table."""
    report, asked = Report.of(content), content["lottery"]
    rewind = "the first weights" if not asked["rewind"] else f"the weights of step {asked['rewind']}"
    dense, spec = content["rounds"][0]["ticket"], report.score_spec
    lines = [
        f"{asked['seeds']} seeds, {dense['steps']} steps from scratch; each ticket starts from {rewind};"
        f" {spec.name} on the test split, mean and standard deviation",
        "differences are of the same seed, with a 95 % t-interval; "
        + ("not judged with fewer than three seeds" if asked["seeds"] < 3 else "* leaves out 0"),
    ]
    if any("latency_ms" in one for one in asked.get("densities", ())):
        lines.append("units alive and milliseconds by round are of the first seed, all rounds timed in one session")
    number = asked["delivered_round"]
    kept = percent(content["rounds"][number]["density"], 1)
    if asked["matching"]:
        lines.append(
            f"round {number} ({kept} of the weights) is handed over: the sparsest whose tickets are within one standard"
            " deviation of the dense networks on the search split"
        )
    else:
        lines.append(f"no round matches the dense networks on the search split; round {number} ({kept}) is handed over")
    lines += [_barrier(one, spec) for one in asked.get("stability", ())]
    lines += _promise(asked.get("forms") or {}, report.target)
    if report.speedup is not None:
        small, whole = report.finetuned.latency_ms, report.dense.latency_ms
        lines.append(
            f"latency on {report.target}: {small:.3g} ms, dense {whole:.3g} ms: a runtime that multiplies with zeros is"
            " no faster for them"
        )
    return lines


def _barrier(found: Content, spec: ScoreSpec) -> str:
    said = {True: ": stable", False: ": not stable", None: ""}[found["stable"]]
    unit = " points" if spec.is_accuracy else ""
    return (
        f"barrier between two trainings from step {found['step']}: {spec.scale * found['barrier_mean']:.2f}{unit}{said}"
    )


def _promise(forms: Content, target: str) -> list[str]:
    """How near the channels of a ticket came to what the latency table had promised."""
    if "promised_ms" not in forms:
        return []
    taken, said = forms["latency_ms"]["channels"], forms["promised_ms"]["channels"]
    return [
        f"channels of the ticket: {milliseconds(said)} ms promised by the latency table of {target},"
        f" {milliseconds(taken)} ms measured ({_signed(taken / said - 1)}); uniform and random widths of as long as is"
        " promised keep units by the same order and are trained from the same weights"
    ]


def _signed(share: float) -> str:
    return f"{'+' if share >= 0 else MINUS}{abs(share):.1%}"


def _difference(found: Content | None, spec: ScoreSpec) -> str:
    if found is None:
        return NONE
    mean = f"{'+' if found['mean'] >= 0 else MINUS}{abs(spec.scale * found['mean']):.2f}"
    if found["half"] is None:
        return mean
    star = "*" if found["seeds"] >= _JUDGED and abs(found["mean"]) > found["half"] else ""
    return f"{mean} \N{PLUS-MINUS SIGN} {spec.scale * found['half']:.2f}{star}"
