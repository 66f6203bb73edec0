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


def test_mappings_of_tensors_are_dealt_row_by_row_and_keep_their_kind():
    class Encoding(dict):
        """What a tokenizer of transformers gives is a mapping of a class of its own."""

    def batch(rows):
        return Encoding(input_ids=rows[:, None].expand(-1, 4), labels=rows % 3)

    batches = [batch(torch.arange(0, 7)), batch(torch.arange(7, 20))]
    episodes, finalists = split_search_set(batches)
    assert all(type(part) is Encoding for part in episodes + finalists)
    ids = [torch.cat([part["input_ids"][:, 0] for part in side]).tolist() for side in (episodes, finalists)]
    assert ids == [[n for n in range(20) if n % 5 in (0, 2, 4)], [n for n in range(20) if n % 5 in (1, 3)]]
    assert all(torch.equal(part["input_ids"][:, 0] % 3, part["labels"]) for part in episodes + finalists)


def test_nested_inputs_are_dealt_with_their_labels():
    rows = torch.arange(10)
    (episodes,), (finalists,) = split_search_set([((rows, rows * 2.0), rows % 2)])
    assert episodes[0][0].tolist() == [0, 2, 4, 5, 7, 9] and finalists[0][0].tolist() == [1, 3, 6, 8]
    for (left, right), labels in (episodes, finalists):
        assert torch.equal(left * 2.0, right) and torch.equal(left % 2, labels)


def test_batches_of_anything_else_are_dealt_whole():
    episodes, finalists = split_search_set([{"x": number} for number in range(10)])
    assert [len(episodes), len(finalists)] == [6, 4]
    assert sorted(b["x"] for b in episodes + finalists) == list(range(10))


def test_a_single_batch_that_cannot_be_cut_serves_both():
    assert split_search_set(["all"]) == (["all"], ["all"])
