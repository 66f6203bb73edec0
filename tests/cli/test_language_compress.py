"""`autoprune llm compress`: the budget is met, the run goes on where it stopped, and every wrong word is one line."""

import json

import pytest
import torch

import autoprune as package
from tests.support.command_line import tree
from tests.support.language_models import language_model, prose

SMALL = [
    "--context", "32", "--tokens", "320", "--windows", "4", "--window-length", "32", "--text", "speech.txt", "--text",
    "manual.txt",
]  # fmt: skip
QUICK = ["--agent", "random", "--episodes", "6"]


@pytest.fixture
def model(folder):
    from autoprune.llm.models.folder import save_folder

    save_folder(language_model(), folder / "model")
    (folder / "learn.txt").write_text(prose(400))
    (folder / "speech.txt").write_text(prose(300, seed=1))
    (folder / "manual.txt").write_text(" ".join(str(n) for n in range(500)))
    return ["llm", "compress", "--model", "model", "--calibration", "learn.txt", *SMALL]


def report_of(folder, run="job"):
    return json.loads((folder / "runs" / run / "report.json").read_text())


def test_a_budget_of_parameters_is_met_and_what_comes_out_is_a_stock_model(autoprune, folder, model):
    from transformers import AutoModelForCausalLM

    done = autoprune(*model, "--params", "60%", *QUICK, "--recover", "full", "--recover-steps", "4",
                     "--recover-every", "2", "--run", "job")  # fmt: skip
    assert done.code == 0, done.err
    report, run = report_of(folder), folder / "runs" / "job"
    network = AutoModelForCausalLM.from_pretrained(run / "recovered")
    counted = sum(p.numel() for p in network.parameters())
    assert report["pruned"]["params"] == report["recovered"]["params"] == counted <= 0.6 * report["dense"]["params"]
    details = report["details"]
    assert details["measured"]["cost"] == details["predicted"] == counted
    assert network.config.num_hidden_layers == details["choices"]["blocks"] == 2 - len(details["blocks_gone"])
    assert network.config.intermediate_size == details["choices"]["ffn"]
    rows = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]
    within = [row["score"] for row in rows]
    assert details["loss"]["pruned"] == min(within) and details["episodes"] == len(rows) == 6
    assert json.loads((run / "policy.json").read_text())["choices"] == details["choices"]
    assert report["ratio"] == "params of at most 60%"
    assert report["budget"] == {"kind": "params", "requested": "60%", "limit": details["measured"]["limit"],
                                "measured": counted, "met": True}  # fmt: skip
    assert f"ffn {details['choices']['ffn']} of {details['of']['ffn']}" in done.out

    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(package.load(run)(input_ids=ids).logits, network(input_ids=ids).logits)
    read = autoprune("llm", "eval", "runs/job", "--text", "speech.txt", "--context", "32", "--tokens", "320")
    assert f"{report['texts'][0]['perplexity']:.2f}" in read.out
    out = autoprune("llm", "export", "runs/job", "--format", "safetensors", "--out", "small.safetensors")
    assert out.code == 0 and (folder / "small.safetensors").stat().st_size == report["recovered"]["bytes"]
    page = autoprune("report", "runs/job")
    assert page.code == 0 and "params of at most 60%" in page.out

    before = (run / "report.json").read_bytes()
    assert autoprune("llm", "compress", "--run", "job", "--resume").code == 0
    assert (run / "report.json").read_bytes() == before


@pytest.mark.slow
def test_bytes_are_those_of_the_file(autoprune, folder, model):
    assert autoprune(*model, "--bytes", "150kB", "--agent", "uniform", "--run", "job").code == 0
    assert report_of(folder)["pruned"]["bytes"] <= 150_000
    assert (folder / "runs/job/pruned/model.safetensors").stat().st_size <= 150_000


@pytest.mark.parametrize("agent", ["random", pytest.param("ddpg", marks=pytest.mark.slow),
                                   pytest.param("optuna", marks=pytest.mark.slow),
                                   pytest.param("exact", marks=pytest.mark.slow)])  # fmt: skip
def test_a_stopped_search_goes_on_and_ends_as_one_that_never_stopped(autoprune, folder, model, monkeypatch, agent):
    from autoprune.llm.search.scoring import HeldOutLoss

    command = [*model, "--params", "60%", "--agent", agent, "--episodes", "4"]
    assert autoprune(*command, "--run", "whole").code == 0
    whole, left = HeldOutLoss.__call__, [3]

    def stopping(self, choices):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return whole(self, choices)

    monkeypatch.setattr(HeldOutLoss, "__call__", stopping)
    stopped = autoprune(*command, "--run", "job")
    assert stopped.code == 130 and "--resume goes on" in stopped.error
    left[0] = 1000
    assert autoprune("llm", "compress", "--run", "job", "--resume").code == 0
    one, other = (report_of(folder, name) for name in ("whole", "job"))
    assert one["details"] == other["details"] and one["texts"] == other["texts"]


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ([], 2, "a budget is missing; give one of --params, --nonzeros, --bytes, --prefill-latency, --decode-latency"),
        (["--params", "60%", "--bytes", "50%"], 2, "there are 2 budgets; give one of"),
        (["--params", "many"], 2, "--params: cannot read the params budget 'many'"),
        (["--params", "60%", "--agent", "optunna"], 2, "there is no agent 'optunna'; did you mean 'optuna'?"),
        (["--decode-latency", "60%", "--target", "openvinno"], 2, "there is no target of language models 'openvinno'"),
        (["--params", "60%", "--decisions", "blocks,fnn"], 2, "'fnn' is none of blocks, ffn, hidden, heads, queries"),
        (["--params", "60%", "--decisions", "ffn,ffn-by-block"], 2, "ffn is one number for all blocks, ffn-by-block"),
        (["--params", "1%"], 3, "the least reachable is"),
        (["--params", "60%", "--warmup", "900"], 2, "warmup (900) must not exceed episodes"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_left(autoprune, folder, model, changes, code, message):
    before = tree(folder)
    outcome = autoprune(*model, *changes, "--run", "job")
    assert (outcome.code, outcome.lines) == (code, 1), outcome.err
    assert message in outcome.error
    assert tree(folder) == before


@pytest.mark.slow
def test_from_python(folder, model):
    given = language_model()
    before = {name: tensor.clone() for name, tensor in given.network.state_dict().items()}
    result = package.llm.compress(
        given, calibration="learn.txt", text=("speech.txt",), params="70%", agent="uniform", run="job", context=32,
        tokens=320, windows=4, window_length=32,
    )  # fmt: skip
    assert all(torch.equal(tensor, before[name]) for name, tensor in given.network.state_dict().items())
    assert sum(p.numel() for p in result.model.network.parameters()) <= 0.7 * result.report["dense"]["params"]


def test_help_ends_with_an_example(autoprune):
    outcome = autoprune("llm", "compress", "--help")
    assert outcome.code == 0 and "Example: autoprune llm" in " ".join(outcome.out.split()[-40:])
