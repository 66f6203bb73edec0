"""Ticket files: what was saved comes back, another architecture is refused by the layer's name, damage is said."""

import pytest
import torch

from autoprune import models
from autoprune.errors import InputError, PolicyMismatchError
from autoprune.graph.fingerprint import fingerprint
from autoprune.masks.ladder import first_masks, pruned_in_layers
from autoprune.techniques.sparsity.ticket import Ticket, is_ticket, read_ticket, save_ticket

SIZES = {"in_channels": 1, "classes": 4, "width": 0.1, "image_size": 6}


@pytest.fixture
def saved(tmp_path):
    model = models.lenet_300_100(**SIZES)
    weights = {name: p.detach() for name, p in model.named_parameters() if p.ndim > 1}
    one = pruned_in_layers(weights, first_masks(weights), dict.fromkeys(weights, 0.3), 1)
    two = pruned_in_layers(weights, one, dict.fromkeys(weights, 0.3), 2)
    ticket = Ticket(model.state_dict(), {1: one, 2: two}, 7, {"model": fingerprint(model), "seed": 3})
    save_ticket(ticket, tmp_path / "t.safetensors")
    return model, ticket, tmp_path / "t.safetensors"


def test_a_ticket_comes_back_whole(saved):
    model, ticket, path = saved
    found = read_ticket(path)
    assert (found.rewind, found.about["seed"], sorted(found.rounds)) == (7, 3, [1, 2])
    assert all(torch.equal(found.rounds[k][n], m) for k, masks in ticket.rounds.items() for n, m in masks.items())
    for number in (None, 1):
        network, masks = found.network(models.lenet_300_100(**SIZES), number), ticket.masks(number)
        own = dict(model.named_parameters())
        for name, parameter in network.named_parameters():
            wanted = own[name] * masks[name] if name in masks else own[name]
            assert torch.equal(parameter, wanted)
    assert path.stat().st_size < 1.4 * sum(p.numel() * 4 for p in model.parameters()) + 3000  # bits, not bytes
    assert is_ticket(path)


def test_another_architecture_is_refused_by_the_layers_name(saved):
    with pytest.raises(PolicyMismatchError, match=r"another network: layer 'fc1': bias is \[30\], in the other \[60\]"):
        read_ticket(saved[2]).network(models.lenet_300_100(**{**SIZES, "width": 0.2}))
    with pytest.raises(PolicyMismatchError, match="another network: layer 'fc1' stands where"):
        read_ticket(saved[2]).network(models.conv2(image_size=6, width=0.1))
    with pytest.raises(InputError, match="no round 9; it has 1, 2"):
        read_ticket(saved[2]).masks(9)


def test_what_is_no_ticket_is_said_in_a_line(saved, tmp_path):
    model, _, path = saved
    plain = tmp_path / "plain.safetensors"
    models.save_weights(model.state_dict(), plain)
    assert not is_ticket(plain)
    with pytest.raises(InputError, match="holds no ticket"):
        read_ticket(plain)
    with pytest.raises(InputError, match="there is no ticket"):
        read_ticket(tmp_path / "missing")
    content = path.read_bytes()
    for damaged in (content[:40], b"PK" + content, content[:-100]):
        path.write_bytes(damaged)
        assert not is_ticket(path)
        with pytest.raises(InputError, match="is no ticket, or is damaged"):
            read_ticket(path)
    path.write_bytes(content.replace(b"autoprune.ticket/1", b"autoprune.ticket/9"))
    with pytest.raises(InputError, match="newer autoprune"):
        read_ticket(path)
