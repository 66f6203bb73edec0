"""Tasks of the lm-eval harness: what it is asked, what is made of its answer, and what is said where it is missing."""

import importlib.util
import json
import sys

import pytest

from autoprune.errors import InputError
from autoprune.llm.evaluation.tasks import TaskScore, task_scores
from tests.support.language_models import language_model

HARNESS = """
def simple_evaluate(model, tasks, task_manager, limit):
    assert model["pretrained"].config.vocab_size == 260 and callable(model["tokenizer"])
    if limit == 1:
        raise OSError("no route to host\\n(examples of mine)")
    return {
        "results": {
            name: {"alias": name, "acc,none": 0.5, "acc_stderr,none": 0.25, "bits,none": 3, "bits_stderr,none": "N/A"}
            for name in tasks
        },
        "n-samples": {name: {"original": 9, "effective": limit or 9} for name in tasks},
    }
"""


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """A package of the same name and calls."""
    folder = tmp_path / "packages" / "lm_eval"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text(HARNESS)
    (folder / "models" / "__init__.py").write_text("")
    (folder / "models" / "huggingface.py").write_text("def HFLM(**asked):\n    return asked\n")
    manager = "class TaskManager:\n    def __init__(self, include_path):\n        self.all_tasks = ['mine', 'piqa']\n"
    (folder / "tasks.py").write_text(manager)
    for name in [name for name in sys.modules if name.split(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(folder.parent))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "lm_eval"]:
        del sys.modules[name]


def test_figures_of_tasks_with_their_errors_and_numbers(harness):
    found = task_scores(language_model(), ["mine"], None, 4)
    assert found == [TaskScore("mine", "acc", 0.5, 0.25, 4), TaskScore("mine", "bits", 3.0, None, 4)]


def test_a_task_that_is_not_there_or_fails_is_one_line(harness):
    with pytest.raises(InputError, match=r"lm-eval has no task 'piqqa'; .*piqa"):
        task_scores(language_model(), ["piqqa"])
    with pytest.raises(InputError, match=r"^lm-eval cannot run mine: OSError: no route to host \(examples of mine\)$"):
        task_scores(language_model(), ["mine"], None, 1)


def test_without_the_harness_nothing_is_loaded(monkeypatch):
    whole = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lm_eval" else whole(name))
    with pytest.raises(InputError, match="--tasks needs the lm-eval harness, which is not installed"):
        task_scores(None, ["mine"])


@pytest.mark.slow
def test_the_harness_itself_scores_a_task_of_ones_own(tmp_path):
    """Two of four answers are right, whichever of the two choices is likelier."""
    pytest.importorskip("lm_eval")
    model = language_model()
    rows = [{"question": "we will", "choices": ["work", "peace"], "answer": number % 2} for number in range(4)]
    (tmp_path / "rows.json").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "mine.yaml").write_text(
        f"task: mine\ndataset_path: json\ndataset_kwargs:\n  data_files: {tmp_path}/rows.json\n"
        "output_type: multiple_choice\ntest_split: train\ndoc_to_text: '{{question}}'\ndoc_to_target: answer\n"
        "doc_to_choice: '{{choices}}'\n"
        "metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
    )
    found = task_scores(model, ["mine"], tmp_path)
    assert [(score.task, score.metric, score.value, score.examples) for score in found] == [("mine", "acc", 0.5, 4)]
