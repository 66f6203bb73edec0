"""`autoprune sensitivity` as a user calls it."""

import json

import pytest

from tests.support.command_line import TINY

CHEAP = ["--train-epochs", "1", "--train-threads", "1", "--flops", "30%", "--points", "2"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_it_leaves_figures_and_a_picture_and_goes_on(autoprune, folder):
    outcome = autoprune("sensitivity", *TINY, *CHEAP, "--run", "s")
    assert outcome.code == 0, outcome.err
    content = json.loads((folder / "runs/s/sensitivity.json").read_text())
    assert [row["name"] for row in content["decisions"]] == ["conv1", "conv2", "inner"]
    assert "runs/s/sensitivity.svg" in outcome.out
    picture = (folder / "runs/s/sensitivity.svg").read_text()
    assert "<svg" in picture
    assert all(name in outcome.out for name in ("conv1", "conv2", "inner", "importance"))
    refused = autoprune("sensitivity", *TINY, *CHEAP, "--run", "s")
    assert (refused.code, refused.lines) == (2, 1)
    again = autoprune("sensitivity", *TINY, *CHEAP, "--run", "s", "--resume", "--picture", "p.png", "--alpha", "0")
    assert again.code == 0, again.err
    assert (folder / "p.png").read_bytes().startswith(b"\x89PNG")
    other = json.loads((folder / "runs/s/sensitivity.json").read_text())
    assert [row["points"] for row in other["decisions"]] == [row["points"] for row in content["decisions"]]
    assert [row["importance"] for row in other["decisions"]] != [row["importance"] for row in content["decisions"]]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--beta", "-1"], "alpha, beta and gamma"),
        (["--criterion", "l3"], "l3"),
        (["--picture", "p.pdf"], ".png or .svg"),
    ],
)
def test_bad_wishes_are_refused_in_a_line(autoprune, folder, wrong, said):
    outcome = autoprune("sensitivity", *TINY, *CHEAP, "--run", "s", *wrong)
    assert (outcome.code, outcome.lines) == (2, 1)
    assert said in outcome.error
    assert list(folder.iterdir()) == []
