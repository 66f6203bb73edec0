"""A run whose process died in a stage says so when it goes on, and ends as if nothing had been."""

import signal
import time

import pytest

from tests.support.killable_jobs import Shop, assert_same

SETTINGS = ["--agent", "random", "--flops", "50%"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    opened = Shop(tmp_path_factory.mktemp("shop"))
    yield opened
    opened.close()


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGSEGV])
def test_the_stage_of_a_death_is_told_at_once_and_on_resume(shop, by):
    if not (shop.folder / "runs" / "calm").exists():
        assert shop.run(*SETTINGS, "--run", "calm") == 0, shop.said()
        assert "ended in the stage" not in shop.said()
    name = f"died-{by}"
    assert shop.run(*SETTINGS, "--run", name, "--resume", kill=["epoch", 5], by=by) == -by
    marker = shop.folder / "runs" / name / "checkpoint" / "stage"
    stage = marker.read_text()
    assert stage.startswith(("fine-tuning", "training"))
    told = (
        f'autoprune: killed in the stage "{stage}"; runs/{name} keeps what is finished: the same command with --resume'
    )
    end = time.monotonic() + 10
    while told not in shop.said() and time.monotonic() < end:
        time.sleep(0.05)  # the sentinel speaks when the process is gone
    assert told in shop.said()
    assert shop.run(*SETTINGS, "--run", name, "--resume") == 0, shop.said()
    assert f'the last process ended in the stage "{stage}"; going on there' in shop.said()
    assert not marker.exists()
    assert_same(shop.folder / "runs" / name, shop.folder / "runs" / "calm")
