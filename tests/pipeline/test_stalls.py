"""A step that does not end is told of, once."""

import time

from autoprune.training.stalls import StepWatch


def wait_for(said, count):
    end = time.monotonic() + 10
    while len(said) < count and time.monotonic() < end:
        time.sleep(0.005)


def test_a_stall_is_told_once_with_step_epoch_and_work():
    said = []
    watch = StepWatch("fine-tuning finalist 2 of 4, epochs", said.append, least=0.05, times=0.0)
    watch.epoch(2)
    with watch:
        for step in (1, 2, 3):
            watch.step(step, 469)
        wait_for(said, 1)
        time.sleep(0.3)  # six times as long: nothing more is said
    (sentence,) = said
    assert sentence.startswith("fine-tuning finalist 2 of 4, epochs: step 4 of 469 of epoch 3 has not ended for ")
    assert "--resume goes on from the last checkpoint" in sentence and "ONEDNN_MAX_CPU_ISA=AVX" in sentence


def test_the_next_stall_is_told_again_and_an_epoch_begins_anew():
    said = []
    with StepWatch("training", said.append, least=0.05, times=0.0) as watch:
        wait_for(said, 1)
        watch.step(1, 2)
        wait_for(said, 2)
        watch.step(2, 2)
        watch.epoch(1)
        wait_for(said, 3)
    assert [s.split(" has not")[0] for s in said] == [
        "training: step 1 of epoch 1",  # nobody knows yet how many an epoch has
        "training: step 2 of 2 of epoch 1",
        "training: step 1 of 2 of epoch 2",
    ]


def test_slow_steps_are_waited_for_a_multiple_of_the_median():
    said = []
    with StepWatch("training", said.append, least=0.01, times=1000.0) as watch:
        time.sleep(0.05)
        watch.step(1, 9)
        said.clear()  # of the first step nobody knows how long it takes
        time.sleep(0.3)
    assert said == []


def test_quick_steps_are_never_told_of():
    said = []
    with StepWatch("training", said.append, least=5.0) as watch:
        for step in range(1, 1000):
            watch.step(step, 1000)
    assert said == []
