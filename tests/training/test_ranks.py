"""What each process of a shared training sees of a batch, and that the parts add up to the whole."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from autoprune.errors import InputError
from autoprune.training import ranks
from autoprune.training.ranks import Ranks, part_of
from tests.support.tiny_job import images
from tests.support.trainings import Norms, Plain, trainer


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 32])
def test_parts_are_the_batch_in_order_and_none_is_a_single_image_of_several(size, count):
    parts = [range(*part_of(size, rank, count)) for rank in range(count)]
    assert [image for part in parts for image in part] == list(range(size))
    assert all(len(part) != 1 for part in parts) or size == 1
    assert max(map(len, parts)) - min(len(part) for part in parts if len(part)) <= 1


BOXES = [{"boxes": torch.zeros(n + 1, 4)} for n in range(4)]


@pytest.mark.parametrize(
    ("batch", "part"),
    [
        ((torch.arange(4), torch.arange(4) + 10), (torch.tensor([2, 3]), torch.tensor([12, 13]))),
        ([torch.arange(4), torch.arange(4) + 10], [torch.tensor([2, 3]), torch.tensor([12, 13])]),
        ({"x": torch.arange(4), "labels": [1, 2, 3, 4]}, {"x": torch.tensor([2, 3]), "labels": [3, 4]}),
        (([torch.zeros(3, n + 1) for n in range(4)], BOXES), None),
        ((torch.arange(4), (torch.arange(4), torch.tensor(7))), None),
    ],
)
def test_a_part_of_a_batch_has_its_images_and_what_belongs_to_them(batch, part):
    found = Ranks(1, 2).part(batch, 4)
    assert found.share == 0.5
    if part is not None:
        assert type(found.batch) is type(batch)
        assert str(found.batch) == str(part)
    elif isinstance(batch[0], list):
        assert found.batch[1] == BOXES[2:] and [tuple(each.shape) for each in found.batch[0]] == [(3, 3), (3, 4)]
    else:
        assert found.batch[1][0].tolist() == [2, 3] and int(found.batch[1][1]) == 7


def test_a_batch_that_nobody_can_share_is_refused():
    with pytest.raises(InputError, match=r"a batch of 4 images cannot be shared among processes"):
        Ranks(0, 2).part({"x": torch.zeros(3, 5)}, 4)


def test_gradients_of_the_parts_add_up_to_that_of_the_whole_batch(monkeypatch):
    batch = tuple(tensor[:7] for tensor in images(8, 0).tensors)
    whole = _gradients(Plain, batch, 1.0)
    parts = [Ranks(rank, 3).part(batch, 7) for rank in range(3)]
    own = [_gradients(Plain, part.batch, part.share) for part in parts]
    monkeypatch.setattr(ranks, "_take_sum", lambda flat: flat.copy_(sum(_flat(each, flat) for each in own)))
    network = Plain()
    loss = Ranks(0, 3).sum(network.parameters(), torch.zeros(()))
    assert float(loss) == pytest.approx(float(whole[-1]), rel=1e-5)
    for parameter, expected in zip(network.parameters(), whole, strict=False):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-5, atol=1e-6)


def _gradients(network, batch, share):
    torch.manual_seed(0)
    model = network()
    loss = share * nn.functional.cross_entropy(model(batch[0]), batch[1])
    loss.backward()
    return [*(each.grad for each in model.parameters()), loss.detach()]


def _flat(values, like):
    """As `Ranks.sum` lays it out: gradients, which of them there are, the loss."""
    *grads, loss = values
    return torch.cat([*(each.flatten() for each in grads), torch.ones(len(grads)), loss.reshape(1)]).to(like.dtype)


@pytest.fixture
def group_of_one():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("network", [Plain, Norms])
def test_a_training_of_one_process_is_the_plain_one_bit_for_bit(group_of_one, network):
    plain = trainer(0, network=network, epochs=2).run().state_dict()
    shared = trainer(0, network=network, epochs=2)
    shared.ranks = Ranks(0, 1)
    found = shared.run().state_dict()
    assert all(torch.equal(found[name], plain[name]) for name in plain)


def test_a_weight_that_took_no_part_keeps_no_gradient(group_of_one):
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    used.grad = torch.full((2,), 4.0)
    assert float(Ranks(0, 1).sum([used, unused], torch.tensor(0.5))) == 0.5
    assert unused.grad is None and used.grad is not None and used.grad.tolist() == [4.0, 4.0]
