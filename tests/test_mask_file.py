"""Large masks lie in a file beside their policy; nothing else may stand in for it."""

import json

import pytest
import torch

from autoprune.errors import InputError
from autoprune.masks.packing import packed
from autoprune.space import Policy, Stage, TechniquePart
from autoprune.space.mask_file import LARGE


def policy_of(size, seed=0):
    mask = torch.rand(size, size, generator=torch.Generator().manual_seed(seed)) < 0.5
    names = ("a.weight", "b:c.weight")
    payload = {"m": 4, "masks": {name: packed(mask) for name in names}}
    part = TechniquePart(technique="nm", stage=Stage.MASK, choices=dict.fromkeys(names, 2), payload=payload)
    return Policy(choices={}, further=(part,))


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_large_masks_are_written_beside_and_read_back(tmp_path):
    large, path = policy_of(2200), tmp_path / "policy.json"
    assert sum(map(len, large.further[0].payload["masks"].values())) > LARGE
    large.save(path)
    assert path.stat().st_size < 2000 and len(files_in(tmp_path)) == 2
    beside = next(path for path in tmp_path.iterdir() if path.suffix == ".safetensors")
    assert beside.stat().st_size < 1.02 * 2 * 2200 * 2200 / 8
    assert Policy.load(path) == large
    assert json.loads(large.to_json())["techniques"][1]["payload"]["masks"]  # as one text it is whole


def test_small_masks_stay_in_the_file_and_old_ones_are_removed(tmp_path):
    path = tmp_path / "policy.json"
    policy_of(2200).save(path)
    policy_of(2200).save(tmp_path / "other.json")
    policy_of(2200, seed=1).save(path)
    assert len(files_in(tmp_path)) == 4 and Policy.load(path) == policy_of(2200, seed=1)
    policy_of(8).save(path)
    assert [name for name in files_in(tmp_path) if name.startswith("policy")] == ["policy.json"]
    assert Policy.load(path) == policy_of(8) and Policy.load(tmp_path / "other.json") == policy_of(2200)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("missing", "keeps its masks in policy.masks-.* beside it, which cannot be read"),
        ("another", "does not hold the masks of policy.json; copy both files together"),
        ("elsewhere", "is no file of masks beside it"),
        ("no name", "is no file of masks beside it"),
    ],
)
def test_masks_that_are_not_the_policys_are_refused(tmp_path, fault, words):
    path = tmp_path / "policy.json"
    policy_of(2200).save(path)
    beside, content = next(tmp_path.glob("*.safetensors")), json.loads(path.read_text())
    if fault == "missing":
        beside.unlink()
    elif fault == "another":
        policy_of(2200, seed=1).save(tmp_path / "other.json")
        next(tmp_path.glob("other.masks*")).replace(beside)
    else:
        content["techniques"][1]["payload"]["masks_file"]["name"] = None if fault == "no name" else "../x.safetensors"
        path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        Policy.load(path)
