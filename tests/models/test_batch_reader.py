"""Which parts of a loader's batch a network is called with."""

import pytest
import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.models.inputs.reader import BatchReader

A, B, Y = torch.zeros(2, 3), torch.ones(2, 4), torch.tensor([0, 1])


class One(nn.Module):
    def forward(self, x):
        return x


class Two(nn.Module):
    def forward(self, left, right):
        return left, right


class Tokens(nn.Module):
    def forward(self, input_ids, attention_mask=None, token_type_ids=None, labels=None, *, scale=None):
        return input_ids


class Anything(nn.Module):
    def forward(self, input_ids, **others):
        return input_ids


def is_call(call, args, kwargs):
    """Whether a call hands over these very tensors."""
    same = len(call.args) == len(args) and all(a is b for a, b in zip(call.args, args, strict=True))
    return same and set(call.kwargs) == set(kwargs) and all(call.kwargs[k] is kwargs[k] for k in kwargs)


@pytest.mark.parametrize(
    ("model", "batch", "args", "kwargs"),
    [
        (One(), A, (A,), {}),
        (One(), (A, Y), (A,), {}),
        (One(), [A, Y, B], (A,), {}),
        (One(), {"pixel_values": A, "labels": Y}, (A,), {}),
        (One(), {"x": A, "index": Y, "label": Y}, (A,), {}),
        (One(), ({"image": A}, Y), (A,), {}),
        (Two(), (A, B, Y), (A, B), {}),
        (Two(), ((A, B), Y), (A, B), {}),
        (Two(), {"right": B, "left": A, "labels": Y}, (A, B), {}),
        (Tokens(), {"labels": Y, "attention_mask": B, "input_ids": A}, (A, B), {}),
        (Tokens(), {"input_ids": A, "token_type_ids": B, "labels": Y}, (A,), {"token_type_ids": B}),
        (Tokens(), {"input_ids": A, "scale": B, "index": Y, "name": ["a", "b"]}, (A,), {"scale": B}),
        (Anything(), {"input_ids": A, "more": B, "labels": Y}, (A,), {"more": B}),
    ],
)
def test_a_batch_says_itself_what_the_inputs_are(model, batch, args, kwargs):
    assert is_call(BatchReader().call(model, batch), args, kwargs)


@pytest.mark.parametrize(
    ("model", "batch", "keys", "args", "kwargs"),
    [
        (One(), {"a": A, "b": B}, ("b",), (B,), {}),
        (Two(), {"a": A, "b": B}, ("b", "a"), (B, A), {}),
        (Tokens(), {"input_ids": A, "attention_mask": B, "token_type_ids": B}, ("input_ids",), (A,), {}),
        (One(), (A, B, Y), ("1",), (B,), {}),
        (Two(), ({"left": A, "right": B, "extra": Y}, Y), ("left", "right"), (A, B), {}),
        (Tokens(), {"input_ids": A, "labels": Y}, ("input_ids", "labels"), (A,), {"labels": Y}),
    ],
)
def test_where_it_does_not_the_keys_do(model, batch, keys, args, kwargs):
    assert is_call(BatchReader(keys).call(model, batch), args, kwargs)


@pytest.mark.parametrize(
    ("model", "batch", "keys", "reason"),
    [
        (One(), {"a": A, "b": B, "labels": Y}, (), r"a batch has a, b, labels, .* takes x: say which .*--inputs"),
        (Two(), {"left": A, "other": B}, (), "takes left, right: say which"),
        (One(), {"a": A}, ("b",), "a batch has no b; it has a"),
        (One(), (A, Y), ("2",), "a batch has no 2; it has 0, 1"),
        (One(), "text", (), "a batch is str"),
        (One(), {"labels": Y}, (), "a batch has labels"),
        (One(), [["a", "b"], Y], (), "does not begin with a tensor"),
    ],
)
def test_an_ambiguous_batch_is_refused_with_its_keys(model, batch, keys, reason):
    with pytest.raises(InputError, match=reason):
        BatchReader(keys).call(model, batch)


def test_a_forward_that_writes_to_its_input_writes_to_a_copy():
    class Writes(nn.Module):
        def forward(self, x):
            return x.add_(1)

    batch = {"x": torch.zeros(2, 3)}
    BatchReader().call(Writes(), batch).run(Writes())
    assert not batch["x"].any()


def test_a_forward_that_shows_no_parameters_gets_the_first_item():
    model = One()
    model.forward = max  # a function of C's, of which `inspect` knows nothing
    assert is_call(BatchReader().call(model, (A, Y)), (A,), {})


def test_an_encoding_of_transformers_is_read_and_moved_as_the_mapping_that_it_is():
    from transformers import BatchEncoding

    from autoprune.models.outputs import moved

    batch = BatchEncoding({"input_ids": A, "attention_mask": B, "labels": Y})
    there = moved(batch, torch.device("meta"))
    assert type(there) is BatchEncoding and there["labels"].is_meta and not batch["labels"].is_meta
    assert is_call(BatchReader().call(Tokens(), batch), (A, B), {})
