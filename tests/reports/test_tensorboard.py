import errno
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from autoprune.errors import InputError
from autoprune.reports import SearchWriter
from tests.support.run_folders import DENSE_MS, LIMIT, rows_of

DOCS = Path(__file__).parents[2] / "docs" / "tensorboard.md"
DDPG = {"noise_sigma": 0.5, "reward_average": -0.2, "actor_loss": 0.1, "critic_loss": 0.01}


def writer(folder, space, **more):
    return SearchWriter(folder, space, kind="latency", unit="ms", limit=LIMIT, dense_cost=DENSE_MS, **more)


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    return events


def scalar(events, tag):
    return {event.step: event.value for event in events.Scalars(tag)}


@pytest.fixture
def rows(space):
    return rows_of(space, 30)


def test_every_scalar_is_written_under_the_episodes_number(tmp_path, space, rows):
    with writer(tmp_path, space) as board:
        for row in rows:
            board.episode(row, DDPG)
    events = read(tmp_path)
    curves = {tag: scalar(events, tag) for tag in events.Tags()["scalars"]}
    best = np.maximum.accumulate([row["reward"] for row in rows])
    for row, best_reward in zip(rows, best, strict=True):
        k = row["episode"]
        expected = {
            "search/reward": row["reward"],
            "search/accuracy": row["accuracy"],
            "search/cost": row["predicted_cost"],
            "search/cost_share": row["predicted_cost"] / DENSE_MS,
            "search/limit": LIMIT,
            "search/seconds": row["seconds"],
            "search/cached": row["cached"],
            "search/warmup": row["warmup"],
            "best/reward": best_reward,
            "best/accuracy": best_reward + 1,
            **{f"keep/{d.name}": row["choices"][d.name] / d.width for d in space.decisions},
            **{f"agent/{name}": value for name, value in DDPG.items()},
        }
        for tag, value in expected.items():
            assert curves[tag][k] == pytest.approx(float(value), rel=1e-6), tag


def test_every_tag_is_defined_in_the_docs_and_every_definition_is_used(tmp_path, space, rows):
    with writer(tmp_path, space) as board:
        board.episode(rows[0] | {"images": 0.25}, DDPG)
        board.hparams({"agent": "ddpg"}, {"best_accuracy": 0.9})
    events = read(tmp_path)
    written = set(events.Tags()["scalars"])
    assert scalar(events, "search/images") == {rows[0]["episode"]: 0.25}
    table = [line.split("|")[1].strip(" `") for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    patterns = {tag: re.compile(re.sub(r"<\w+>", ".+", tag.replace(".", r"\."))) for tag in table}
    for tag in written:
        assert sum(bool(p.fullmatch(tag)) for p in patterns.values()) == 1, f"{tag} is not in {DOCS.name} once"
    for tag, pattern in patterns.items():
        assert any(pattern.fullmatch(name) for name in written), f"{DOCS.name} defines {tag}, which is never written"


def test_what_is_missing_leaves_a_gap_not_a_zero(tmp_path, space, rows):
    failed = {"episode": 1, "choices": rows[1]["choices"], "accuracy": None, "predicted_cost": 0.3, "reward": None}
    with writer(tmp_path, space) as board:
        for row in (rows[0], failed, rows[2]):
            board.episode(row, {"actor_loss": None})
    events = read(tmp_path)
    for tag in ("search/accuracy", "search/reward", "search/seconds"):
        assert set(scalar(events, tag)) == {0, 2}
    assert "agent/actor_loss" not in events.Tags()["scalars"]
    assert scalar(events, "search/cost")[1] == pytest.approx(0.3)
    assert scalar(events, "best/reward")[1] == pytest.approx(rows[0]["reward"])


def test_nothing_is_best_before_something_is_scored(tmp_path, space, rows):
    with writer(tmp_path, space) as board:
        board.episode({**rows[0], "accuracy": None, "reward": None})
    assert not [tag for tag in read(tmp_path).Tags()["scalars"] if tag.startswith("best/")]


def test_a_resumed_search_reads_as_an_uninterrupted_one(tmp_path, space, rows):
    with writer(tmp_path / "whole", space) as board:
        for row in rows:
            board.episode(row)
    with writer(tmp_path / "resumed", space) as board:  # dies after episode 19; the run had saved up to 14
        for row in rows[:20]:
            board.episode({**row, "seconds": 99.0} if row["episode"] >= 15 else row)
    with writer(tmp_path / "resumed", space, first_episode=15, earlier=rows[:15]) as board:
        for row in rows[15:]:
            board.episode(row)
    whole, resumed = read(tmp_path / "whole"), read(tmp_path / "resumed")
    assert whole.Tags()["scalars"] == resumed.Tags()["scalars"]
    for tag in whole.Tags()["scalars"]:
        assert scalar(whole, tag) == scalar(resumed, tag), tag
        assert len(resumed.Scalars(tag)) == len(rows)


def test_a_search_that_starts_again_from_nothing_forgets_everything(tmp_path, space, rows):
    for seconds in (1.0, 2.0):
        with writer(tmp_path, space) as board:
            for row in rows[:3]:
                board.episode({**row, "seconds": seconds})
    assert [event.value for event in read(tmp_path).Scalars("search/seconds")] == [2.0] * 3


def test_a_full_disk_is_one_line_and_hides_no_other_fault(tmp_path, space, rows, capfd, monkeypatch):
    """The call that meets it fails, and prints nothing."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    boards = [writer(tmp_path / name, space) for name in "ab"]
    monkeypatch.setattr(RecordWriter, "write", full)
    with pytest.raises(InputError, match=r"cannot write to .*/a: No space left on device"), boards[0] as board:
        board.episode(rows[0])
    with pytest.raises(ValueError, match="another fault"), boards[1]:
        raise ValueError("another fault")
    assert "Traceback" not in capfd.readouterr().err


def test_the_policy_is_a_picture_that_shows_what_is_kept(tmp_path, space):
    import io

    from PIL import Image

    from autoprune.reports.figures._matplotlib import LIGHT

    areas = {}
    for name, keep in (("all", 1.0), ("half", 0.5)):
        with writer(tmp_path / name, space) as board:
            board.policy_picture(space.uniform(keep).choices)
        (event,) = read(tmp_path / name).Images("best/policy")
        pixels = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB")).reshape(-1, 3)
        kept, dense = (tuple(bytes.fromhex(color[1:])) for color in (LIGHT.kept, LIGHT.dense))
        areas[name] = [int((pixels == color).all(axis=1).sum()) for color in (kept, dense)]
    swatch = areas["all"][1]  # with everything kept, the dense colour is left in the legend only
    assert areas["half"][0] - swatch == pytest.approx(0.5 * (areas["all"][0] - swatch), rel=0.03)
    assert areas["half"][1] - swatch == pytest.approx(areas["half"][0] - swatch, rel=0.03)


def test_without_matplotlib_the_policy_is_a_table(tmp_path, space, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with writer(tmp_path, space) as board:
        board.policy_picture({"conv1": 4})
    events = read(tmp_path)
    assert not events.Tags()["images"]
    (event,) = events.Tensors("best/policy/text_summary")
    text = event.tensor_proto.string_val[0].decode()
    assert "| conv1 | 16 | 4 | 25 % |" in text
    assert "| layer3.0.conv1 | 64 | 64 | 100 % |" in text
    assert "autoprune[report]" in text


def test_choices_that_do_not_fit_are_refused(tmp_path, space):
    with writer(tmp_path, space) as board, pytest.raises(InputError, match="conv1"):
        board.policy_picture({"conv1": 5})


def test_hyper_parameters_lie_in_the_runs_own_folder(tmp_path, space, rows):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    with writer(tmp_path, space) as board:
        board.episode(rows[0])
        board.hparams(
            {"agent": "ddpg", "seed": 3, "skip": ["a", "b"], "weights": None}, {"accuracy": 0.9, "latency_ms": None}
        )
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    events = read(tmp_path)
    assert scalar(events, "result/accuracy") == {0: pytest.approx(0.9)}
    assert "result/latency_ms" not in events.Tags()["scalars"]
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["agent"].string_value == "ddpg"
    assert settings["seed"].number_value == 3
    assert settings["skip"].string_value == "a, b"


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path, space):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        writer(tmp_path / "file" / "tensorboard", space)


def test_closing_twice_is_harmless(tmp_path, space, rows):
    board = writer(tmp_path, space)
    board.episode(rows[0])
    board.close()
    board.close()
    assert set(scalar(read(tmp_path), "search/reward")) == {0}
