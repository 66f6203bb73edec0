"""The search split is dealt without loss, and evenly whatever its order."""

import torch

from autoprune.pipeline.task import split_search_set


def test_every_image_goes_to_one_side_three_to_two_in_every_class():
    images = torch.arange(100.0).view(100, 1)
    labels = torch.arange(100) // 25  # sorted by class
    batches = [(images[i : i + 33], labels[i : i + 33]) for i in range(0, 100, 33)]
    episodes, finalists = split_search_set(batches)
    seen = torch.cat([x for x, _ in episodes + finalists]).flatten()
    assert sorted(seen.tolist()) == list(range(100))
    assert torch.bincount(torch.cat([y for _, y in episodes])).tolist() == [15, 15, 15, 15]
    for x, y in episodes + finalists:
        assert torch.equal(x.flatten().long() // 25, y)


def test_batches_of_anything_else_are_dealt_whole():
    episodes, finalists = split_search_set([{"x": number} for number in range(10)])
    assert [len(episodes), len(finalists)] == [6, 4]
    assert sorted(b["x"] for b in episodes + finalists) == list(range(10))


def test_a_single_batch_that_cannot_be_cut_serves_both():
    assert split_search_set(["all"]) == (["all"], ["all"])
