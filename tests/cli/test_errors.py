"""Every row of the promise on errors: exit code, one or two lines that say what and where, and what is left behind."""

import os
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from autoprune.errors import InputError
from tests.support.command_line import FAST, TINY, tree

BUDGET = ["--flops", "50%"]


@pytest.fixture
def refused(autoprune, folder):
    """Run a command that must be refused: nothing may be left, nothing changed."""

    def call(*arguments, code=2, says=()):
        before = tree(folder)
        outcome = autoprune(*arguments)
        assert outcome.code == code, outcome.err
        assert 1 <= outcome.lines <= 2, outcome.err
        assert len(outcome.error) < 500
        for text in says:
            assert text in outcome.error, outcome.error
        assert tree(folder) == before
        return outcome

    return call


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["--model", "resnet21"], ["no model 'resnet21'", "nearest name is resnet"]),
        (["--model", "tests.support.tiny_job:netwrk"], ["tiny_job", "netwrk"]),
        (["--model", "nowhere:net"], ["there is no module nowhere"]),
        (
            ["--model", "tests.support.tiny_job:blind"],
            ["tests.support.tiny_job:blind cannot take its example, [1, 1, 8, 8] of float32"],
        ),
        (["--model", "tests.support.tiny_job:narrow"], ["outputs of shape [1, 2]", "has 4 classes"]),
        (["--model", "tests.support.tiny_job:images"], ["tests.support.tiny_job:images", "raised TypeError"]),
        (["--agent", "ddgp"], ["there is no agent 'ddgp'", "ddpg"]),
        (["--data", "digts"], ["digts", "digits"]),
        (["--data", "folder:/nowhere"], ["/nowhere"]),
        (["--data", "digits", "--batch-size", "5000"], ["training images for a batch of 5000", "--batch-size"]),
        (["--data", "tests.support.tiny_job:loaders_of_one_class"], ["one class"]),
        (["--data", "tests.support.tiny_job:loaders_with_nan"], ["not finite (NaN"]),
        (["--data", "tests.support.tiny_job:loaders_without_a_batch"], ["train loader gives no batches"]),
        (["--data", "tests.support.tiny_job:network"], ["must return (train, search, test) loaders"]),
        (["--target", "onnxruntme"], ["no target is named 'onnxruntme'", "onnxruntime"]),
        (["--target", "tests.support.tiny_job:Formular"], ["tests.support.tiny_job:Formular", "cannot be imported"]),
        (["--flops", "50 bananas"], ["cannot read the flops budget '50 bananas'"]),
        (["--flops", "0%"], ["above 0 and at most 100%"]),
        (["--budget", "flops=50%"], ["there are two budgets of flops"]),
        (["--episodes", "0"], ["episodes"]),
        (["--warmup", "20"], ["warmup (20) must not exceed episodes (6)"]),
        (["--workers", "0"], ["workers", "greater than or equal to 1"]),
        (["--workers", "4", "--batch", "2"], ["workers (4) must not exceed batch (2)"]),
        (["--batch", "0"], ["batch"]),
        (["--skip", "conv9"], ["conv9"]),
        (["--weights", "missing.pt"], ["there is no weights file missing.pt"]),
        (["--run", "nets.py"], ["nets.py"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith("--") else "",
)
def test_wrong_settings_are_named_and_leave_no_folder(refused, folder, changes, says):
    if changes[0] == "--run":
        (folder / "nets.py").write_text("")
        changes = ["--run", "./nets.py"]
    refused("compress", *TINY, *FAST, *BUDGET, *changes, says=says)


def test_an_unknown_option_shows_the_usage(autoprune, folder):
    outcome = autoprune("compress", "--lateny", "50%")
    assert outcome.code == 2
    assert "--latency" in outcome.err
    assert list(folder.iterdir()) == []


def test_an_impossible_budget_names_the_least_reachable(refused):
    refused("compress", *TINY, *FAST, "--flops", "0.1%", code=3, says=["cannot be met", "least reachable is"])
    refused("search", *TINY, *FAST, "--latency", "1%", code=3, says=["cannot be met", "least reachable is", "ms"])


def test_a_target_that_is_not_here(refused):
    says = ["target 'absent' is not available here: no board is plugged in; plug it in"]
    refused("compress", *TINY, *FAST, *BUDGET, "--target", "tests.support.tiny_job:Absent", code=4, says=says)
    refused("profile", *TINY, "--target", "tests.support.tiny_job:Absent", code=4, says=says)


# Weights ---------------------------------------------------------------------------------------------------------


class Malicious:
    def __reduce__(self):
        return (os.mkdir, ("owned",))


def _weights(kind, path):
    from tests.support import tiny_job

    state = tiny_job.network().state_dict()
    if kind == "other":
        torch.save(tiny_job.other().state_dict(), path)
    elif kind == "nan":
        state["inner.bias"][3] = float("nan")
        torch.save(state, path)
    elif kind == "shape":
        save_file({**state, "fc.bias": torch.zeros(9)}, path)
    elif kind == "code":
        path.write_bytes(pickle.dumps({"fc.bias": Malicious()}))
    elif kind == "code in a zip":
        torch.save({"fc.bias": Malicious()}, path)
    elif kind == "module":
        torch.save(tiny_job.network(), path)
    elif kind == "torn":
        save_file(state, path)
        path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("other", ["which the model needs (its names: 0.weight"]),
        ("shape", ["fc.bias is [9] but the model's is [4]"]),
        ("nan", ["inner.bias has values that are not a number (NaN)"]),
        ("code", ["could run code"]),
        ("code in a zip", ["could run code"]),
        ("module", ["could run code"]),
        ("torn", ["damaged"]),
    ],
)
def test_weights_that_do_not_fit_or_would_run_code(refused, folder, kind, says):
    path = folder / ("weights.safetensors" if kind in ("shape", "torn") else "weights.pt")
    _weights(kind, path)
    refused("compress", *TINY, *FAST, *BUDGET, "--weights", path, says=[str(path), *says])
    assert not (folder / "owned").exists()


# Experiment files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("modle: resnet20\n", ["e.yaml", "there is no setting 'modle'", "did you mean 'model'"]),
        ("episodes: many\n", ["e.yaml", "episodes", "'many'"]),
        ("- model\n", ["e.yaml should hold settings"]),
        ("model: [resnet20\n", ["e.yaml is not YAML"]),
        ("", ["e.yaml should hold settings"]),
        (None, ["there is no experiment file", "e.yaml"]),
    ],
)
@pytest.mark.parametrize("command", ["compress", "profile"])
def test_bad_experiment_files(refused, folder, command, text, says):
    if text is not None:
        (folder / "e.yaml").write_text(text)
    refused(command, "e.yaml", says=says)


# Runs --------------------------------------------------------------------------------------------------------------


def test_a_run_that_exists_is_refused_and_stays(refused, done):
    says = ["runs/done exists; use --resume to go on, --overwrite to start anew"]
    refused("compress", *TINY, *FAST, *BUDGET, "--run", "done", says=says)
    refused("search", *TINY, *FAST, *BUDGET, "--run", "done", says=says)


def test_another_setting_on_resume_is_refused_by_name(refused, done):
    for option, name in [("--episodes", "episodes = 6, not 9"), ("--seed", "seed = 0, not 9")]:
        refused("compress", *TINY, *BUDGET, "--run", "done", "--resume", option, "9", says=[f"started with {name}"])


def test_an_overwriting_run_that_is_refused_gives_the_old_one_back(refused, done):
    command = ["compress", *TINY, *FAST, "--run", "done", "--overwrite"]
    refused(*command, "--flops", "0.1%", code=3, says=["least reachable"])
    refused(*command, "--flops", "50%", "--skip", "conv9", says=["conv9"])


def test_going_on_and_starting_anew_at_once_is_refused_and_the_run_stays(refused, done):
    """After an interruption of a command with --overwrite that is what a user may type."""
    says = ["--resume goes on with runs/done, --overwrite starts it anew; give one of them"]
    refused("compress", *TINY, *FAST, *BUDGET, "--run", "done", "--resume", "--overwrite", says=says)


def test_a_run_that_looks_for_an_accuracy_is_gone_on_with_by_compress_alone(refused, done):
    settings = (done / "experiment.yaml").read_text()
    (done / "experiment.yaml").write_text(
        settings.replace("accuracy_drop: null", "accuracy_drop: 1.0").replace("flops: 50%", "flops: null")
    )
    (done / "report.json").unlink()
    refused("finetune", "runs/done", says=["`autoprune compress --run runs/done --resume` goes on with it"])


def test_a_table_is_not_written_over_the_device_table_that_it_was_made_from(refused, folder):
    refused("profile", *TINY, "--table", "t.json", "--out", "./t.json", says=["would replace the table"])


def test_a_folder_or_file_that_is_no_run_is_not_touched(refused, folder):
    (folder / "runs" / "thesis").mkdir(parents=True)
    (folder / "runs" / "thesis" / "thesis.tex").write_text("years of work")
    for flags in ([], ["--resume"], ["--overwrite"]):
        refused("compress", *TINY, *BUDGET, "--run", "thesis", *flags, says=["runs/thesis exists and is no run"])


def test_two_processes_on_one_run(refused, done):
    holds = (
        "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    lock = done / ".lock"
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", holds, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"held\n"
        for flag in ("--resume", "--overwrite"):
            command = ["compress", *TINY, *FAST, *BUDGET, "--run", "done", flag]
            refused(*command, says=["runs/done is in use by another process"])
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "command",
    [
        ["finetune", "runs/none"],
        ["export", "runs/none", "--format", "onnx", "--out", "x.onnx"],
        ["report", "runs/none"],
        ["compare", "runs/none"],
    ],
    ids=lambda command: command[0],
)
def test_commands_on_a_run_that_is_not_there(refused, command):
    refused(*command, says=["no run at runs/none"])


def test_commands_on_a_run_that_is_not_finished(refused, done):
    for name in ("report.json", "report.html", "finetuned.safetensors", "pruned.safetensors"):
        (done / name).unlink()
    refused("report", done, says=["report"])
    refused("compare", done, says=["done"])
    out = ["--out", "small.bin"]
    refused("export", done, "--format", "onnx", *out, says=["has not been fine-tuned yet", "autoprune finetune"])
    (done / "policy.json").unlink()
    refused("finetune", done, says=["has no policy.json yet", "autoprune search --run"])
    refused("export", done, "--format", "policy", *out, says=["policy"])


def test_export_refuses_unknown_forms_and_folders(refused, done, folder):
    refused("export", done, "--format", "onx", "--out", "x", says=["unknown format 'onx'", "onnx"])
    (folder / "out").mkdir()
    refused("export", done, "--format", "safetensors", "--out", "out", says=["out"])


def test_an_onnx_export_whose_outputs_differ_writes_nothing(refused, done, folder, monkeypatch):
    from autoprune.export import onnx as onnx_export

    right = onnx_export.to_onnx

    def wrong(model, example, **options):
        with torch.no_grad():
            model.fc.bias += 1e-2
        content = right(model, example, **options)
        with torch.no_grad():
            model.fc.bias -= 1e-2
        return content

    monkeypatch.setattr(onnx_export, "to_onnx", wrong)
    (folder / "small.onnx").write_bytes(b"the one from last week")
    command = ["export", done, "--format", "onnx", "--out", "small.onnx"]
    refused(*command, code=1, says=["outputs differ from PyTorch's", "small.onnx was not written"])


def test_apply_refuses_what_does_not_fit(refused, done, folder):
    rest = ["--weights", done / "dense.safetensors", "--out", "small.safetensors"]
    refused("apply", "none.json", *rest, says=["there is no policy at none.json"])
    refused("apply", done / "policy.json", "--model", "tests.support.tiny_job:other", *rest, says=["policy"])
    (folder / "torn.json").write_text((done / "policy.json").read_text()[:-20])
    refused("apply", "torn.json", *rest, says=["torn.json is not a policy"])
    refused("apply", done / "report.json", *rest, says=["report.json"])


USERS = """
import sys
from tests.support.tiny_job import Formula, Measurement


def leaves():
    sys.exit(0)


class Zero(Formula):
    name = "zero"

    def time(self, payloads, protocol, progress=None):
        return [Measurement(0.0, 0.0, 9, "own", True) for _ in payloads]
"""


@pytest.fixture
def users(folder, monkeypatch):
    (folder / "users_of_a_test.py").write_text(USERS)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the folder is looked at for what is left behind
    yield folder
    sys.modules.pop("users_of_a_test", None)


@pytest.mark.parametrize("option", ["--data", "--model"])
def test_a_function_that_exits_is_a_fault_of_its_own(refused, users, option):
    says = ["users_of_a_test:leaves raised SystemExit: 0 (users_of_a_test.py:7)"]
    refused("compress", *TINY, *FAST, *BUDGET, option, "users_of_a_test:leaves", says=says)


def test_debug_shows_where_the_users_code_failed(autoprune, users):
    with pytest.raises(InputError) as raised:
        autoprune("compress", *TINY, *FAST, *BUDGET, "--data", "users_of_a_test:leaves", "--debug")
    assert isinstance(raised.value.__cause__, SystemExit)


def test_a_latency_of_zero_is_refused_and_blocks_no_later_profile(refused, autoprune, users):
    command = ["profile", *TINY, "--out", "table.json"]
    refused(
        *command, "--target", "users_of_a_test:Zero", code=4, says=["target 'zero' (users_of_a_test:Zero)", "0.0 ms"]
    )
    (users / "table.json.part").write_text('{"schema": "torn')
    outcome = autoprune(*command)
    assert outcome.code == 0 and "starting afresh" in outcome.err
    assert (users / "table.json").exists() and not (users / "table.json.part").exists()
