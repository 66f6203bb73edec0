"""BatchNorm statistics after re-estimation are those of the batches, whatever they were before."""

import pytest
import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.reconstruction.batch_norm import reestimate_batch_norm


def batches(count=4, size=32):
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, 3, 5, 5, generator=generator) * 2 + 1, torch.zeros(size, dtype=torch.int64))
        for _ in range(count)
    ]


def test_statistics_are_the_mean_over_batches_of_each_batch_statistic():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.BatchNorm2d(3, momentum=0.3))
    model[0].running_mean.fill_(7.0)
    reestimate_batch_norm(model, batches(), bf16=False)
    means = torch.stack([x.mean((0, 2, 3)) for x, _ in batches()])
    variances = torch.stack([x.var((0, 2, 3)) for x, _ in batches()])
    torch.testing.assert_close(model[0].running_mean, means.mean(0))
    torch.testing.assert_close(model[0].running_var, variances.mean(0))
    assert model[2].momentum == 0.3
    assert model[2].running_mean.abs().max() < 1e-4  # fed normalised values, since dropout stayed off


def test_modes_and_weights_stay():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    model[1].eval()
    before = {name: p.clone() for name, p in model.named_parameters()}
    reestimate_batch_norm(model, batches())
    assert (model.training, model[0].training, model[1].training) == (True, True, False)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name])


def test_no_calibration_images_is_an_error():
    with pytest.raises(InputError, match="calibration"):
        reestimate_batch_norm(nn.Sequential(nn.BatchNorm2d(3)), [])


def test_every_image_counts_the_same_whatever_batch_it_is_in():
    images = torch.cat([x for x, _ in batches(1, 33)])
    model = nn.Sequential(nn.BatchNorm2d(3))
    reestimate_batch_norm(model, [(images[:32],), (images[32:],)], bf16=False)
    torch.testing.assert_close(model[0].running_mean, images.mean((0, 2, 3)))
