"""`lottery --transfer`: what is trained elsewhere starts from the ticket's weights and masks; a killed run goes on."""

import json
from dataclasses import replace

import pytest
import torch

import autoprune
from autoprune import models
from autoprune.data import load
from autoprune.errors import AutopruneError, InputError
from autoprune.masks.ladder import kept_after
from autoprune.pipeline.jobs.lottery.destinations import in_size
from autoprune.pipeline.jobs.lottery.levels import Level
from autoprune.reports.lottery import transfer_rows
from autoprune.techniques.sparsity.ticket import read_ticket, save_ticket
from tests.pipeline.test_lottery import killed_at_row, study, weights_of
from tests.support.tiny_job import Tiny

MIRRORED = "tests.support.tiny_job:mirrored"
SETTINGS = {"rounds": 1, "controls": "", "transfer": f"{MIRRORED},adamw"}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder, seen, trained = tmp_path_factory.mktemp("transfer") / "run", {}, Level.trained

    def watched(self, start, tick, keep_at=None):
        before = {name: t.detach().clone() for name, t in start.network.state_dict().items()}
        seen[str(self.run.file("")), self.arm, self.seed] = (before, dict(start.masks), start.step, self.settings)
        return trained(self, start, tick, keep_at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Level, "trained", watched)
        result = study(folder, **SETTINGS)
    return result, folder, seen


def test_what_is_moved_starts_from_the_tickets_own_weights_and_masks(done):
    _, folder, seen = done
    for seed in (0, 1):
        ticket = read_ticket(folder / f"tickets/seed-{seed}.safetensors")
        masks, places = ticket.masks(1), {key[0] for key in seen if "/run/transfer/" in key[0]}
        assert len(places) == 2
        for place in places:
            weights, own, step, _ = seen[place, "moved-ticket", seed]
            assert all(torch.equal(weights[name], value) for name, value in ticket.start.items()) and step == 3
            assert all(torch.equal(own[name], mask) for name, mask in masks.items())
            weights, own, step, _ = seen[place, "moved-mask", seed]
            assert all(torch.equal(own[name], mask) for name, mask in masks.items()) and step == 0
            assert not torch.equal(weights["conv2.weight"], ticket.start["conv2.weight"])
            weights, own, step, _ = seen[place, "moved-random", seed]
            assert torch.equal(weights["conv2.weight"], ticket.start["conv2.weight"]) and step == 3
            assert not torch.equal(own["conv2.weight"], masks["conv2.weight"])
            assert sum(map(int, (m.sum() for m in own.values()))) == sum(map(int, (m.sum() for m in masks.values())))


def test_a_native_ticket_is_found_in_the_other_place(done):
    _, folder, seen = done
    mirrored = next(path for path in (folder / "transfer").iterdir() if "mirrored" in path.name)
    here, there = (read_ticket(path / "tickets/seed-0.safetensors") for path in (folder, mirrored))
    assert not all(torch.equal(here.start[name], there.start[name]) for name in here.start)  # other images
    for name, weight in weights_of(Tiny()).items():
        assert int(there.masks()[name].sum()) == kept_after(weight.numel(), 0.3, 1)
    optimizers = {key[0].rpartition("/run")[2][:15]: value[3].optimizer for key, value in seen.items()}
    assert optimizers["/transfer/adamw"] == "adamw" and sorted(optimizers.values()) == ["adamw", "sgd", "sgd"]


def test_the_report_has_every_arm_and_paired_differences(done):
    result, folder, _ = done
    found = result.report["lottery"]["transfer"]
    assert [one["to"] for one in found] == [MIRRORED, "adamw"]
    for one in found:
        assert all(len(one[arm]["accuracies"]) == 2 for arm in ("dense", "native", "ticket", "mask", "random"))
        by = {(each["of"], each["against"]): each for each in one["comparisons"]}
        pairs = zip(one["ticket"]["accuracies"], one["random"]["accuracies"], strict=True)
        assert by["ticket", "random"]["mean"] == pytest.approx(sum(a - b for a, b in pairs) / 2)
    header, *rows = transfer_rows(json.loads((folder / "report.json").read_text()))
    assert header[:3] == ["carried over to", "dense", "found there"] and [row[0] for row in rows] == [MIRRORED, "adamw"]


def test_a_transfer_that_was_killed_ends_as_a_whole_one(done, tmp_path):
    with killed_at_row(9):  # in the middle of the first destination
        study(tmp_path / "run", **SETTINGS)
    resumed = study(tmp_path / "run", resume=True, **SETTINGS)
    assert resumed.report["lottery"]["transfer"] == done[0].report["lottery"]["transfer"]


def test_images_are_scaled_to_the_networks_size():
    digits = load("digits")
    large = in_size(digits, (1, 32, 32))
    assert large.shape == (1, 32, 32) and large.example.shape == (1, 1, 32, 32)
    images, labels = next(iter(large.train))
    assert images.shape == (128, 1, 32, 32) and torch.equal(labels, next(iter(digits.train))[1])
    small, big = next(iter(digits.test))[0], next(iter(large.test))[0]
    assert (torch.nn.functional.avg_pool2d(big, 2) - small).abs().mean() < 0.2
    with pytest.raises(InputError, match=r"--transfer digits: its inputs are \[1, 16, 16\], and the network is for"):
        in_size(digits, (3, 16, 16))


def test_a_tickets_file_loads_as_the_network_that_its_training_starts_from(done, tmp_path):
    _, folder, _ = done
    path = folder / "tickets/seed-1.safetensors"
    ticket = read_ticket(path)
    found = autoprune.load(path, model=Tiny())
    masks = ticket.masks()
    for name, value in found.state_dict().items():
        wanted = ticket.start[name]
        assert torch.equal(value, wanted * masks[name] if name in masks else wanted)
    assert not found.training
    with pytest.raises(InputError, match="leave the weights out"):
        autoprune.load(path, path)
    with pytest.raises(AutopruneError, match="the ticket was found in another network"):
        autoprune.load(path, model=models.lenet_300_100(image_size=8))
    for name, message in ((None, "does not name its network; give it"), ("nowhere:net", "cannot be made by its name")):
        unnamed = replace(ticket, about={**ticket.about, "name": name})
        save_ticket(unnamed, tmp_path / "t.safetensors")
        with pytest.raises(InputError, match=message):
            autoprune.load(tmp_path / "t.safetensors")
