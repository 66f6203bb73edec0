"""`autoprune llm`: from a folder of a model and a text to a folder that stock classes load, and every wrong word."""

import json

import pytest
import torch

from autoprune.errors import InputError
from tests.support.command_line import tree
from tests.support.language_models import language_model, prose

SMALL = ["--context", "32", "--tokens", "320", "--windows", "4", "--window-length", "32"]


def factory():
    model = language_model()
    return model.network, model.tokenizer


def broken():
    network, tokenizer = factory()
    with torch.no_grad():
        network.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    return network, tokenizer


def without_blocks():
    from transformers import GPT2Config, GPT2LMHeadModel

    network, tokenizer = GPT2LMHeadModel(GPT2Config(vocab_size=260, n_embd=16, n_layer=1, n_head=2)), factory()[1]
    network.transformer.h = torch.nn.Sequential(*network.transformer.h)
    return network, tokenizer


@pytest.fixture
def model(folder):
    from autoprune.llm.models.folder import save_folder

    save_folder(language_model(), folder / "model")
    (folder / "learn.txt").write_text(prose(400))
    (folder / "speech.txt").write_text(prose(300, seed=1))
    (folder / "manual.txt").write_text(" ".join(str(n) for n in range(500)))
    return ["--model", "model", "--calibration", "learn.txt", *SMALL]


def test_prune_writes_what_stock_classes_load_and_says_what_it_does(autoprune, folder, model):
    from transformers import AutoModelForCausalLM

    done = autoprune(
        "llm", "prune", *model, "--method", "sparsegpt", "--ratio", "2:4", "--text", "speech.txt", "--text",
        "manual.txt", "--run", "job",
    )  # fmt: skip
    assert done.code == 0, done.err
    run = folder / "runs" / "job"
    report = json.loads((run / "report.json").read_text())
    network = AutoModelForCausalLM.from_pretrained(run / "pruned")
    linear = [m.weight for n, m in network.named_modules() if "_proj" in n]
    zeros = sum(int((weight == 0).sum()) for weight in linear)
    assert zeros * 2 == sum(weight.numel() for weight in linear)
    assert report["pruned"]["zeros"] - report["dense"]["zeros"] == zeros
    assert report["pruned"]["params"] == report["dense"]["params"] == sum(p.numel() for p in network.parameters())
    assert [text["name"] for text in report["texts"]] == ["speech", "manual"]
    assert report["recovered"] is None and report["schema"] == "autoprune.llm/1"
    assert all(layer["zeros"] * 2 == layer["weights"] for layer in report["details"]["layers"])

    again = autoprune("llm", "eval", "runs/job", "--text", "speech.txt", "--text", "manual.txt", "--context", "32",
                      "--tokens", "320", "--json", "eval.json")  # fmt: skip
    assert again.code == 0, again.err
    read = {row["name"]: row for row in json.loads((folder / "eval.json").read_text())["texts"]}
    for text in report["texts"]:
        assert read[text["name"]]["perplexity"] == pytest.approx(text["perplexity"])
        assert {key: text[key] for key in ("tokens", "context", "stride")} == {
            "tokens": 310,
            "context": 32,
            "stride": 32,
        }
        assert f"{text['name']}: perplexity {text['perplexity']:.2f} (310 tokens" in again.out
    page = (run / "report.html").read_text()
    assert "model.layers.1.mlp.down_proj" in page and "<script" not in page
    assert not (run / "checkpoint" / "blocks").exists()

    (run / "report.html").unlink()
    again = autoprune("report", "runs/job")
    assert again.code == 0 and "page: runs/job/report.html" in again.out and (run / "report.html").read_text() == page
    assert f"{report['texts'][0]['perplexity']:.2f}" in again.out

    refused = autoprune("llm", "prune", *model, "--run", "job")
    assert (refused.code, refused.lines) == (2, 1) and "runs/job exists" in refused.error
    before = (run / "report.json").read_bytes()
    assert autoprune("llm", "prune", "--run", "job", "--resume").code == 0
    assert (run / "report.json").read_bytes() == before
    other = autoprune("llm", "prune", "--run", "job", "--resume", "--ratio", "50%")
    assert (other.code, other.lines) == (2, 1) and "was started with ratio = 2:4, not 50%" in other.error


def test_without_texts_it_holds_out_the_end_and_takes_a_second_domain(autoprune, folder, model):
    assert autoprune("llm", "prune", *model, "--method", "magnitude", "--run", "job").code == 0
    report = json.loads((folder / "runs/job/report.json").read_text())
    assert [text["name"] for text in report["texts"]] == ["learn-held-out", "python-reference"]
    assert report["calibration"]["tokens"] == 4 * 32


def test_windows_are_no_longer_than_the_model_can_read(autoprune, folder, model):
    long = ["--window-length", "4096", "--text", "speech.txt", "--method", "wanda", "--run", "job"]
    assert autoprune("llm", "prune", *model, *long).code == 0
    assert json.loads((folder / "runs/job/report.json").read_text())["calibration"]["tokens"] == 4 * 128


def test_out_of_shards_comes_the_same_run(autoprune, folder, model):
    texts = ["--text", "speech.txt", "--method", "wanda"]
    assert autoprune("llm", "prune", *model, *texts, "--run", "whole").code == 0
    done = autoprune("llm", "prune", *model, *texts, "--by-blocks", "--run", "parts")
    assert done.code == 0, done.err
    reports = [json.loads((folder / "runs" / name / "report.json").read_text()) for name in ("whole", "parts")]
    for one, other in zip(*(report["texts"] for report in reports), strict=True):
        assert other["perplexity"] == pytest.approx(one["perplexity"], rel=1e-5)
        assert other["dense_perplexity"] == pytest.approx(one["dense_perplexity"], rel=1e-5)
    assert reports[0]["details"] == reports[1]["details"]


def test_a_stopped_run_goes_on(autoprune, folder, model, monkeypatch):
    from autoprune.llm.sparsity import walk

    whole = walk._prune_block
    command = ["llm", "prune", *model, "--text", "speech.txt", "--owl"]
    assert autoprune(*command, "--run", "whole").code == 0

    def stopping(stack, number, plan, flow):
        if number == 1:
            raise KeyboardInterrupt
        return whole(stack, number, plan, flow)

    monkeypatch.setattr(walk, "_prune_block", stopping)
    stopped = autoprune(*command, "--run", "job")
    assert stopped.code == 130 and "--resume goes on" in stopped.error
    monkeypatch.setattr(walk, "_prune_block", whole)
    assert autoprune(*command, "--run", "job", "--resume").code == 0
    one, other = (json.loads((folder / "runs" / name / "report.json").read_text()) for name in ("whole", "job"))
    assert one["texts"] == other["texts"] and one["details"] == other["details"]
    assert one["details"]["block_ratios"] != [0.5, 0.5]


HERE = "tests.cli.test_language_models"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--model", "nowhere"], "there is no language model 'nowhere'"),
        (["--method", "wand"], "there is no method 'wand'; did you mean 'wanda'?"),
        (["--ratio", "100%"], "--ratio 100% takes away 100%"),
        (["--ratio", "half"], "--ratio 'half' is no share; write such as 50%"),
        (["--ratio", "2:x"], "is no pattern"),
        (["--ratio", "5:4"], "keeps 5 of 4 weights"),
        (["--calibration", "gone.txt"], "there is no text at gone.txt"),
        (["--calibration", "manual.txt", "--window-length", "128", "--text", "learn.txt", "--windows", "1",
          "--context", "4000"], "was made for 128 tokens"),
        (["--text", "learn.txt"], "learn.txt is calibration text"),
        (["--text", "speech.txt", "--context", "1"], "context: Input should be greater than or equal to 2"),
        (["--recover", "lora"], "would fill their zeros; give --recover full"),
        (["--ratio", "2:4", "--owl"], "--owl shares out zeros"),
        (["--damping", "0.1"], "--damping is of sparsegpt; wanda has none"),
        (["--bits", "8"], "--bits is of sparsegpt; wanda has none"),
        (["--method", "sparsegpt", "--bits", "5"], "weights are rounded to 8 or 4 bits, not to 5"),
        (["--method", "sparsegpt", "--damping", "7"], "the damping is above 0 and at most 1, not 7"),
        (["--model", f"{HERE}:broken", "--text", "speech.txt"], "are not finite numbers"),
        (["--model", f"{HERE}:without_blocks", "--text", "speech.txt"], "has no decoder blocks"),
        (["--model", f"{HERE}:factory", "--by-blocks"], "--by-blocks reads safetensors files"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_left(autoprune, folder, model, changes, message):
    before = tree(folder)
    outcome = autoprune("llm", "prune", *model, *changes, "--run", "job")
    assert (outcome.code, outcome.lines) == (2, 1), outcome.err
    assert message in outcome.error
    assert tree(folder) == before


def test_a_recovery_lowers_the_perplexity_and_goes_on_where_it_stopped(autoprune, folder, model, monkeypatch):
    from autoprune.llm.recovery import training

    (folder / "speech.txt").write_text(prose(300, seed=1))
    command = [
        "llm", "prune", *model, "--ratio", "2:4", "--text", "speech.txt", "--recover", "full", "--recover-steps", "8",
        "--recover-every", "4", "--recover-lr", "3e-3",
    ]  # fmt: skip
    assert autoprune(*command, "--run", "whole").code == 0
    whole, content = training._Training._step, json.loads((folder / "runs/whole/report.json").read_text())
    assert content["recovered"]["texts"][0]["perplexity"] < 0.9 * content["pruned"]["texts"][0]["perplexity"]
    assert content["recovered"]["zeros"] == content["pruned"]["zeros"]
    assert content["texts"][0]["perplexity"] == content["recovered"]["texts"][0]["perplexity"]

    def stopping(self, step):
        if step == 6:
            raise KeyboardInterrupt
        whole(self, step)

    monkeypatch.setattr(training._Training, "_step", stopping)
    assert autoprune(*command, "--run", "job").code == 130

    def going_on(self, step):
        assert step >= 4
        whole(self, step)

    monkeypatch.setattr(training._Training, "_step", going_on)
    again = autoprune(*command, "--run", "job", "--resume")
    assert again.code == 0, again.err
    assert json.loads((folder / "runs/job/report.json").read_text())["recovered"] == content["recovered"]
    assert not (folder / "runs/job/checkpoint/recovery.pt").exists()
    read = autoprune("llm", "eval", "runs/job", "--text", "speech.txt", "--context", "32", "--tokens", "320")
    assert f"{content['texts'][0]['perplexity']:.2f}" in read.out


def test_an_evaluation_by_nothing_or_by_a_missing_harness_is_refused_before_a_model_is_loaded(autoprune, monkeypatch):
    from autoprune.llm.evaluation import tasks

    nothing = autoprune("llm", "eval", "there-is-no-such-model")
    assert (nothing.code, nothing.lines) == (2, 1) and "nothing to judge by; give --text FILE" in nothing.error
    monkeypatch.setattr(tasks.importlib.util, "find_spec", lambda name: None)
    missing = autoprune("llm", "eval", "there-is-no-such-model", "--tasks", "piqa")
    assert (missing.code, missing.lines) == (2, 1) and "pip install lm-eval" in missing.error


def test_a_text_too_short_is_named(autoprune, folder, model):
    (folder / "short.txt").write_text("A short text.")
    for option, words in (
        ("--calibration", "the calibration text short is too short"),
        ("--text", "short is too short"),
    ):
        outcome = autoprune("llm", "prune", *model, "--text", "manual.txt", option, "short.txt", "--run", "job")
        assert (outcome.code, outcome.lines) == (2, 1) and words in outcome.error
        assert not (folder / "runs").exists()


def test_a_full_disk_loses_nothing(autoprune, folder, model, monkeypatch):
    """What was pruned stays, and the run goes on when there is room."""
    from autoprune.llm.blocks import storage

    whole, left = storage.save_file, [1]

    def filling(*arguments):
        if not left:
            raise OSError(28, "No space left on device")
        left.pop()
        whole(*arguments)

    monkeypatch.setattr(storage, "save_file", filling)
    command = ["llm", "prune", *model, "--text", "speech.txt", "--run", "job"]
    outcome = autoprune(*command)
    assert (outcome.code, outcome.lines) == (2, 1) and "No space left on device" in outcome.error
    kept = folder / "runs/job/checkpoint/blocks"
    assert [file.name for file in kept.iterdir()] == ["block-0000.safetensors"]
    monkeypatch.setattr(storage, "save_file", whole)
    assert autoprune(*command, "--resume").code == 0


def test_from_python(folder, model):
    import autoprune

    given = language_model()
    result = autoprune.llm.prune(
        given, calibration="learn.txt", text="speech.txt", method="wanda", ratio="2:4", run="job", context=32,
        tokens=320, windows=4, window_length=32,
    )  # fmt: skip
    scores = autoprune.llm.evaluate(result.model, ["speech.txt"], context=32, tokens=320)
    assert [score.perplexity for score in scores] == pytest.approx(
        [row["perplexity"] for row in result.report["texts"]]
    )
    with pytest.raises(InputError, match="there is no setting 'calibratoin'"):
        autoprune.llm.prune("model", calibration="learn.txt", calibratoin="x")


@pytest.mark.parametrize("command", [["llm"], ["llm", "prune"], ["llm", "eval"]])
def test_help_ends_with_an_example(autoprune, command):
    outcome = autoprune(*command, "--help")
    assert outcome.code == 0 and "Example: autoprune llm" in " ".join(outcome.out.split()[-40:])
