"""Racing in a whole job: the same best policy as with all images, what was given up is marked, and it resumes."""

import json

import pytest
from torch.utils.data import DataLoader

import autoprune
from tests.pipeline.conftest import quarters


def searched(model, loaders, folder, **settings):
    given = {
        "budget": "flops<=20%",
        "granularity": 1,
        "target": "torch",
        "episodes": 20,
        "agent": "random",
        "finalists": 2,
    }
    loaders = loaders | {"search": DataLoader(quarters(1000, 1), batch_size=100)}
    weights = {"candidate_weights": "recalibrated", "finetune_epochs": 0}  # scores far apart
    autoprune.compress(model, **loaders, run=folder, **given, **weights, **settings)
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in ("seconds", "cached")} for row in rows]


@pytest.fixture(scope="module")
def raced(trained, loaders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "raced"
    return folder, searched(trained, loaders, folder)


def test_the_best_are_those_of_all_images_and_the_rest_is_marked(raced, trained, loaders, tmp_path):
    _, rows = raced
    full = searched(trained, loaders, tmp_path / "full", fidelity="full")
    given_up = [row for row in rows if "images" in row]
    assert given_up and all(0 < row["images"] < 1 for row in given_up)
    assert all("images" not in row for row in full)
    assert [row["choices"] for row in full] == [row["choices"] for row in rows]
    assert all(a == b for a, b in zip(rows, full, strict=True) if "images" not in a)
    assert max(row["accuracy"] for row in rows) == max(row["accuracy"] for row in full)
    assert max(row["accuracy"] for row in given_up) < sorted(row["accuracy"] for row in full)[-2]


def test_a_search_that_was_cut_off_ends_as_the_whole_one(raced, trained, loaders, tmp_path):
    folder, rows = raced
    first = next(number for number, row in enumerate(rows) if "images" in row)
    half = tmp_path / "half"
    half.mkdir()
    for name in ("experiment.yaml", "dense.safetensors"):
        (half / name).write_bytes((folder / name).read_bytes())
    lines = (folder / "episodes.jsonl").read_text().splitlines(keepends=True)
    (half / "episodes.jsonl").write_text("".join(lines[: first + 1]))
    assert searched(trained, loaders, half, resume=True) == rows


def test_an_own_score_gets_whole_splits(trained, loaders, tmp_path):
    sizes = set()

    def evaluate(model, batches):
        sizes.add(sum(len(labels) for _, labels in batches))
        return autoprune.evaluation.accuracy(model, batches)

    rows = searched(trained, loaders, tmp_path / "own", evaluate=evaluate, score="accuracy")
    assert all("images" not in row for row in rows) and 600 in sizes and not sizes & {38, 75, 150, 300}
