"""`lottery --stacked`: a study whose networks are trained as one comes to what it comes to one by one."""

import json

import pytest

import autoprune
from autoprune.errors import AutopruneError, InputError
from autoprune.techniques.sparsity.ticket import read_ticket
from tests.pipeline.test_lottery import FORMULA, killed_at_row
from tests.pipeline.test_lottery import study as study_of_own_loaders

CONTROLS = "reinit,random,finetune,small"


def study(run, *, resume=False, **settings):
    given = {"rounds": 2, "rate": 0.5, "seeds": 2, "rewind": 2, "train_epochs": 2, "controls": CONTROLS}
    given["target"] = FORMULA
    return autoprune.lottery(
        "lenet_300_100", data="digits", run=run, resume=resume, train_threads=1, **(given | settings)
    )


@pytest.fixture(scope="module", autouse=True)
def in_float32():
    """Rounding to bfloat16, where the processor has it, would hide whether two ways compute the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autoprune.models.precision.bf16_is_fast", lambda device: False)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacked") / "run"
    return study(folder, stacked="yes"), folder


def rows_of(folder):
    return by_key(written(folder, "rounds.jsonl"))


def test_a_stacked_study_has_the_rounds_and_masks_of_one_by_one(done, tmp_path):
    """First-round masks are of the dense networks, whose weights differ by rounding alone."""
    result, folder = done
    assert result.report["lottery"]["trained"] == {"stacked": True, "why": "as asked for"}
    study(tmp_path / "run", stacked="no")
    ours, theirs = rows_of(folder), rows_of(tmp_path / "run")
    assert set(ours) == set(theirs)
    for key, row in ours.items():
        assert (row["steps"], row["weights"]) == (theirs[key]["steps"], theirs[key]["weights"]), key
    for seed in (0, 1):
        one, other = (read_ticket(run / f"tickets/seed-{seed}.safetensors") for run in (folder, tmp_path / "run"))
        assert sorted(one.rounds) == [0, 1, 2] and one.rewind == other.rewind == 2
        for name, mask in one.rounds[1].items():
            assert float((mask ^ other.rounds[1][name]).float().mean()) < 0.002
            assert not bool((one.rounds[2][name] & ~mask).any())


@pytest.mark.slow
def test_a_stacked_study_that_was_killed_ends_as_a_whole_one(done, tmp_path):
    """Between the rows of one stack: it is trained again as a whole, and written once."""
    with killed_at_row(8):
        study(tmp_path / "run", stacked="yes")
    resumed = study(tmp_path / "run", stacked="yes", resume=True)
    assert resumed.report["rounds"] == done[0].report["rounds"]
    assert len((tmp_path / "run/rounds.jsonl").read_text().splitlines()) == len(rows_of(done[1]))


def test_the_way_that_is_faster_is_chosen_once_and_written_down(tmp_path, monkeypatch):
    from autoprune.pipeline.jobs.lottery import stacks

    quick = {"rounds": 1, "train_epochs": 1, "controls": "", "rewind": 0}
    for ratio, chosen in ((3.0, True), (0.9, False)):
        monkeypatch.setattr(stacks, "_times_as_fast", lambda *_, ratio=ratio: ratio)
        found = study(tmp_path / str(chosen), **quick).report["lottery"]["trained"]
        assert found == {"stacked": chosen, "why": "2 networks, timed both ways", "times_as_fast": ratio}
    _as_of_an_earlier_version(tmp_path / "False")
    monkeypatch.setattr(stacks, "_times_as_fast", lambda *_: 3.0)
    found = study(tmp_path / "False", resume=True, **quick).report
    assert found["lottery"]["trained"] == {"stacked": False, "why": "it was begun one by one"}
    assert [len(one["ticket"]["accuracies"]) for one in found["rounds"]] == [2, 2]


BESIDE = {"rounds": 1, "controls": "", "transfer": "adamw", "stability": "0,3", "forms": "2:4", "stacked": "no"}
ROWS = ("stability.jsonl", "transfer/adamw/rounds.jsonl", "forms/rounds.jsonl")


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """One study twice, its rounds one by one; what comes after them one by one, and as one."""
    from autoprune.pipeline.jobs.lottery import stacks

    folder, decided = tmp_path_factory.mktemp("beside"), {}
    for stacked in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            plan = {"stacked": stacked, "why": "for a test"}
            patch.setattr(stacks, "_decided_beside", lambda *_, plan=plan, **__: plan)
            decided[stacked] = study(folder / str(stacked), **BESIDE).report["lottery"]
    return folder, decided


def test_what_comes_after_the_rounds_is_the_same_as_one_and_one_by_one(beside):
    """Starts and masks are equal to the bit, but a native ticket's, which are of a network that differs by rounding."""
    folder, decided = beside
    for name in ROWS[1:]:
        ours, theirs = (by_key(written(folder / run, name)) for run in ("True", "False"))
        assert set(ours) == set(theirs) and len(ours) == (2 if "forms" in name else 10)
        apart = sorted(abs(row["loss"] - theirs[key]["loss"]) for key, row in ours.items())
        assert apart[len(apart) // 2] < 1e-5 and apart[-1] < 1e-2  # rounding turns a unit over zero now and then
        for key, row in ours.items():
            assert row["steps"] == theirs[key]["steps"] and row["weights"] == theirs[key]["weights"]
    ours, theirs = ({(r["seed"], r["step"]): r for r in written(folder / run, ROWS[0])} for run in ("True", "False"))
    assert set(ours) == set(theirs) == {(seed, step) for seed in (0, 1) for step in (0, 3)}
    for key, row in ours.items():  # shares of 300 images: one may lie on the border
        assert row["merits"] == pytest.approx(theirs[key]["merits"], abs=1.5 / 300)
    for stacked, report in decided.items():
        plan = {"stacked": stacked, "why": "for a test"}
        assert report["trained_beside"] == {"stability": plan, "transfer to adamw": plan, "forms": plan}


def test_what_comes_after_the_rounds_is_trained_as_they_are(tmp_path):
    settings = BESIDE | {"stacked": "yes", "transfer": "", "stability": "0", "forms": "2:4", "train_epochs": 1}
    lottery = study(tmp_path / "run", **settings).report["lottery"]
    plan = {"stacked": True, "why": "as the rounds are"}
    assert lottery["trained_beside"] == {"stability": plan, "forms": plan}


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [False, True])
def test_twins_that_were_killed_go_on_where_they_stopped(beside, tmp_path, monkeypatch, stacked):
    from autoprune.pipeline.jobs.lottery import stability, stacks

    monkeypatch.setattr(stacks, "_decided_beside", lambda *_, **__: {"stacked": stacked, "why": "for a test"})
    monkeypatch.setattr(stability, "SAVE_EVERY", 0.0)
    save, killed_at = stability.save_unfinished, iter((2, 3))  # a twin that has an epoch, then one that is done
    saved, until = [], next(killed_at)

    def killed(*given):
        save(*given)
        saved.append((given[1], given[2]["epoch"]))
        if len(saved) == until:
            raise KeyboardInterrupt

    monkeypatch.setattr(stability, "save_unfinished", killed)
    for number in range(2):
        with pytest.raises((KeyboardInterrupt, AutopruneError)):
            study(tmp_path / "run", resume=number > 0, **BESIDE)
        until = next(killed_at, None)
    study(tmp_path / "run", resume=True, **BESIDE)
    assert len(saved) == len(set(saved))  # no epoch was trained twice
    folder, _ = beside
    assert written(tmp_path / "run", ROWS[0]) == written(folder / str(stacked), ROWS[0])


@pytest.mark.slow
@pytest.mark.parametrize("after", [9, 15])  # rows: 4 of rounds, 4 of the other place's rounds, 6 moved, 2 forms
def test_what_comes_after_the_rounds_ends_as_a_whole_when_it_was_killed(beside, tmp_path, monkeypatch, after):
    from autoprune.pipeline.jobs.lottery import stacks

    monkeypatch.setattr(stacks, "_decided_beside", lambda *_, **__: {"stacked": True, "why": "for a test"})
    with killed_at_row(after):
        study(tmp_path / "run", **BESIDE)
    resumed = study(tmp_path / "run", resume=True, **BESIDE).report["lottery"]
    folder, decided = beside
    assert resumed["transfer"] == decided[True]["transfer"]
    assert resumed["forms"]["2:4"] == decided[True]["forms"]["2:4"]
    for name in ROWS[1:]:
        assert set(by_key(written(tmp_path / "run", name))) == set(by_key(written(folder / "True", name)))


def written(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def by_key(rows):
    found = {(row["seed"], row["arm"], row["round"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def _as_of_an_earlier_version(folder):
    """A run that was killed before its last row, and whose journal says nothing of stacks."""
    (folder / "report.json").unlink()
    *rows, _ = (folder / "rounds.jsonl").read_text().splitlines(keepends=True)
    (folder / "rounds.jsonl").write_text("".join(rows))
    journal = json.loads((folder / "checkpoint/journal.json").read_text())
    kept = {name: value for name, value in journal.items() if name not in ("lottery trained", "lottery timing")}
    (folder / "checkpoint/journal.json").write_text(json.dumps(kept))


def test_what_cannot_be_trained_as_one_is_trained_one_by_one_and_refused_where_it_is_asked_for(tmp_path):
    with pytest.raises(InputError, match=r"--stacked yes: networks of .* its images come from a loader of your own"):
        study_of_own_loaders(tmp_path / "run", stacked="yes")
    assert not (tmp_path / "run").exists()
