"""The conformance kit on the sources that ship, and on one that another package brings."""

import gzip
import hashlib
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from autoprune import data
from autoprune.data.sources import fashion_mnist
from autoprune.data.sources.digits import Digits
from autoprune.data.sources.image_folder import ImageFolder
from autoprune.errors import InputError
from autoprune.testing.data_source import DataSourceTests
from tests.extensions.mine_data import Stripes
from tests.support.paths import EXTENSIONS, importing


class TestDigits(DataSourceTests):
    batch_size = 64

    def source(self):
        return Digits()


class TestFashionMNIST(DataSourceTests):
    @pytest.fixture(autouse=True)
    def archive(self, tmp_path, monkeypatch):
        random = np.random.default_rng(0)
        sums = {}
        for stem, count in (("train", 300), ("t10k", 50)):
            labels = (np.arange(count) % 10).astype(np.uint8)
            images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            for name, values in ((f"{stem}-images-idx3", images), (f"{stem}-labels-idx1", labels)):
                header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
                (tmp_path / f"{name}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))
                sums[f"{name}-ubyte.gz"] = hashlib.sha256(header + values.tobytes()).hexdigest()
        monkeypatch.setattr(fashion_mnist, "SHA256", sums)
        monkeypatch.setattr(fashion_mnist, "SIZES", {"search": 40, "calibration": 20})
        self.data_dir = tmp_path

    def source(self):
        return fashion_mnist.FashionMNIST()


class TestImageFolder(DataSourceTests):
    @pytest.fixture(autouse=True)
    def images(self, tmp_path):
        random = np.random.default_rng(0)
        for name in ("cat", "dog"):
            (tmp_path / "pets" / name).mkdir(parents=True)
            for number in range(30):
                pixels = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{number}.png")
        self.data_dir = tmp_path

    def source(self):
        return ImageFolder("pets")


class TestAnotherPackages(DataSourceTests):
    def source(self):
        return Stripes()


def test_a_name_with_an_argument_that_it_does_not_take_is_a_module():
    with pytest.raises(InputError, match="no module digits"):
        data.load("digits:loaders")


def test_a_source_can_be_registered():
    class Nothing(Digits):
        pass

    data.SOURCES.register("nothing", Nothing)
    try:
        assert data.load("nothing", batch_size=64).name == "digits"
    finally:
        data.SOURCES.unregister("nothing")


def test_another_packages_source_is_used_from_the_command_line(tmp_path):
    site = tmp_path / "site"
    (site / "mine_data-1.0.dist-info").mkdir(parents=True)
    (site / "mine_data.py").write_text((EXTENSIONS / "mine_data.py").read_text())
    (site / "mine_data-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine-data\nVersion: 1.0\n")
    (site / "mine_data-1.0.dist-info" / "entry_points.txt").write_text("[autoprune.data]\nmine = mine_data:Stripes\n")
    program = "from autoprune.cli import main; main()"
    command = "search --model mine_data:net --data mine --flops 60% --agent uniform --episodes 1 --train-epochs 1"
    done = subprocess.run(
        [sys.executable, "-c", program, *command.split(), "--run", str(tmp_path / "r")],
        capture_output=True, text=True, timeout=240, check=False, env=importing(site),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / "r" / "episodes.jsonl").read_text().splitlines()[0])
    assert 0 <= row["accuracy"] <= 1
    assert row["accuracy"] * 80 == pytest.approx(round(row["accuracy"] * 80), abs=1e-3)  # of 80 images to score on
