import io
import re
import time

import pytest
from rich.console import Console

from autoprune.reports import Progress


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def log():
    return Console(file=io.StringIO(), force_terminal=False, width=40)


def lines(console):
    return console.file.getvalue().splitlines()


def test_without_a_terminal_first_every_fifteen_seconds_and_last_are_printed(log):
    clock = Clock()
    with Progress("search", 40, log, clock=clock) as progress:
        for done in range(1, 41):
            clock.now += 1.0
            progress.update(done, best_accuracy=f"{90 + done / 10:.2f} %")
    assert [line.split(",")[0] for line in lines(log)] == [
        "search: 1/40",
        "search: 16/40",
        "search: 31/40",
        "search: 40/40",
    ]
    assert lines(log)[1] == "search: 16/40, best accuracy 91.60 %, 24.0 s left"
    assert lines(log)[-1] == "search: 40/40, best accuracy 94.00 %, took 40.0 s"


def test_last_line_is_not_repeated(log):
    with Progress("search", 1, log, clock=Clock()) as progress:
        progress.update(1)
    assert len(lines(log)) == 1


def test_nothing_is_printed_for_work_that_never_started(log):
    with Progress("search", 5, log):
        pass
    assert lines(log) == []


def test_time_left_counts_only_what_this_process_did(log):
    clock = Clock()
    with Progress("search", 100, log, clock=clock) as progress:
        progress.begin(90)
        clock.now += 10
        progress.update(92)  # 5 s each, 8 to go
    assert lines(log) == ["search: 92/100, 40.0 s left"]


def test_last_state_is_shown_when_the_work_fails(log):
    clock = Clock()
    with pytest.raises(KeyboardInterrupt), Progress("search", 10, log, clock=clock) as progress:
        for done in (1, 2, 3):
            progress.update(done)
        raise KeyboardInterrupt
    assert [line.split(",")[0] for line in lines(log)] == ["search: 1/10", "search: 3/10"]


def test_figures_are_shown_by_name_and_their_text_as_it_is(log):
    with Progress("search", None, log, clock=Clock()) as progress:
        progress.update(7, latency="0.341 ms", limit="[b]0.36[/b]", best_accuracy=None)
    dash = "\N{EN DASH}"
    assert lines(log) == [f"search: 7, latency 0.341 ms, limit [b]0.36[/b], best accuracy {dash}, 0.0 s so far"]


def test_called_as_a_function_the_total_may_come_later(log):
    clock = Clock()
    with Progress("profile", None, log, clock=clock) as progress:
        progress(0, 200, "conv 3x3")
        clock.now += 20
        progress(100, what="add")
    assert lines(log) == ["profile: 0/200, at conv 3x3, 0.0 s so far", "profile: 100/200, at add, 20.0 s left"]


def test_on_a_terminal_a_bar_is_drawn_and_stays():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, legacy_windows=False, _environ={})
    clock = Clock()
    with Progress("search [x]", 3, console, clock=clock) as progress:
        for done in (1, 2, 3):
            clock.now += 1
            progress.update(done, best_accuracy="90.00 %")
    text = console.file.getvalue()
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).strip().splitlines()[-1].split()
    assert last[:2] == ["search", "[x]"]
    assert last[3:] == ["3/3", "best", "accuracy", "90.00", "%", "0:00:03"]


def test_a_bars_time_left_counts_only_what_this_process_did():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, legacy_windows=False, _environ={})
    clock = Clock()
    with Progress("search", 100, console, clock=clock) as progress:
        progress.begin(90)
        for done in (91, 92):
            clock.now += 5
            progress.update(done)
    assert "0:00:10 0:00:40 left" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())


def test_default_console_is_standard_error(capsys):
    with Progress("search", 1) as progress:
        progress.update(1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "search: 1/1" in err


@pytest.mark.parametrize("terminal", [False, True])
def test_a_throttled_update_takes_less_than_50_microseconds(terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    with Progress("search", 5000, console, clock=Clock()) as progress:
        progress.update(0)
        start = time.thread_time()
        for done in range(5000):
            progress.update(done, best_accuracy="90.00 %", latency="0.34 of 0.36 ms")
        taken = time.thread_time() - start
    assert taken / 5000 < 50e-6


def test_without_a_terminal_silent_work_is_said_to_go_on(log, monkeypatch):
    monkeypatch.setattr("autoprune.reports.progress._SILENT_SECONDS", 0.05)
    clock = Clock()
    with Progress("verify", None, log, clock=clock):
        clock.now += 60
        end = time.monotonic() + 10
        while len(lines(log)) < 2 and time.monotonic() < end:
            time.sleep(0.005)
    said = len(lines(log))
    assert lines(log)[:2] == ["verify: still at it, 1:00 min so far"] * 2
    time.sleep(0.2)
    assert len(lines(log)) == said  # nothing after the end


def test_what_is_known_stands_in_the_line_that_breaks_a_silence(log, monkeypatch):
    monkeypatch.setattr("autoprune.reports.progress._SILENT_SECONDS", 0.05)
    with Progress("search", 40, log, clock=Clock()) as progress:
        progress.update(3, best="91.0%")
        end = time.monotonic() + 10
        while len(lines(log)) < 2 and time.monotonic() < end:
            time.sleep(0.005)
    assert lines(log)[1] == "search: 3/40, best 91.0%, still at it, 0.0 s so far"


def test_a_bar_that_was_told_nothing_does_not_stay():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, legacy_windows=False, _environ={})
    with Progress("loading", None, console):
        pass
    assert console.file.getvalue().endswith("\x1b[1A\x1b[2K")  # its line is wiped


def test_the_next_phase_has_a_time_left_of_its_own(log):
    """Layers take a second each, networks a tenth: what the layers took says nothing about these."""
    clock = Clock()
    with Progress("profile", None, log, clock=clock) as progress:
        for done in range(101):
            progress(done, 100, "layers")
            clock.now += 1.0
        for turn in (1, 2):
            for done in range(11):
                progress(done, 10, f"networks, process {turn}")
                clock.now += 2.0
    said = lines(log)
    assert "profile: 100/100, at layers, took 1:41 min" in said
    assert "profile: 0/10, at networks, process 1, 1:41 min so far" in said
    assert [line for line in said if "process 1" in line][1] == "profile: 8/10, at networks, process 1, 4.0 s left"
    assert [line for line in said if "process 2" in line][1] == "profile: 8/10, at networks, process 2, 4.0 s left"


def test_another_label_alone_is_no_phase(log):
    clock = Clock()
    with Progress("check", 10, log, clock=clock) as progress:
        for done in range(5):
            progress(done, 10, ("onnxruntime", "torch")[done % 2])
            clock.now += 20
    assert lines(log)[-1] == "check: 4/10, at onnxruntime, 2:00 min left"
