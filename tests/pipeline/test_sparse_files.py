"""What a sparsified network is written as: dense or compressed weights, ONNX, transformers' own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch.nn.utils import prune

import autoprune
from autoprune.cli.main import run as call_command_line
from autoprune.errors import InputError
from autoprune.export.formats import export_onnx, export_pretrained
from autoprune.masks.assigned import Assigned
from autoprune.masks.parsing import pattern_of
from autoprune.masks.planes import PLAIN
from autoprune.models import load_weights
from autoprune.reports.sparsity import sparsity_lines
from tests.pipeline.test_sparsify import SHAPE, largest_group, network, sparsified


def test_a_run_in_the_compressed_layout_is_smaller_and_loads_bit_for_bit(tmp_path: Path) -> None:
    result = sparsified(tmp_path / "run", layout="compressed", recipe="asp", finetune_epochs=1, target=TARGET)
    report = result.report
    assert report["finetuned"]["bytes"] < report["dense"]["bytes"]
    again = autoprune.load(tmp_path / "run", model=network())
    for name, value in result.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_the_compressed_layout_is_refused_for_other_patterns_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unstructured:0\.9 need not be; write --layout dense"):
        sparsified(tmp_path / "run", layout="compressed", pattern="unstructured:0.9")
    assert not (tmp_path / "run" / "policy.json").exists()


def test_export_writes_either_layout_and_weights_of_it_make_a_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = str(tmp_path / "run"), tmp_path / "small.safetensors"
    words = ["--model", "resnet20", "--weights", WEIGHTS, "--data", "tests.pipeline.test_sparse_files:images"]
    assert call_command_line(["sparsify", *words, "--target", TARGET, "--run", run]) == 0
    for layout in ("dense", "compressed"):
        form = ("--format", "safetensors", "--layout", layout)
        assert call_command_line(["export", run, *form, "--out", str(tmp_path / f"{layout}.safetensors")]) == 0
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("compressed", "dense")]
    assert sizes[0] < 0.6 * sizes[1]
    own = autoprune.load(run)
    again = autoprune.load(Path(run) / "policy.json", tmp_path / "compressed.safetensors")
    for name, value in own.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    capsys.readouterr()
    for wrong, said in ((("onnx", "compressed"), "--format safetensors"), (("safetensors", "csr"), "unknown layout")):
        assert call_command_line(["export", run, "--format", wrong[0], "--layout", wrong[1], "--out", str(out)]) == 2
        assert said in capsys.readouterr().err
    assert not out.exists()


TARGET = "tests.support.targets.formula_target:MadeUpTarget"
WEIGHTS = "autoprune/models/weights/resnet20_fashion_mnist.safetensors"


def images() -> Any:
    from torch.utils.data import DataLoader, TensorDataset

    def loader(seed: int) -> DataLoader[Any]:
        draw = torch.Generator().manual_seed(seed)
        return DataLoader(TensorDataset(torch.randn(10, 1, 28, 28, generator=draw), torch.arange(10)), batch_size=10)

    return loader(0), loader(1), loader(2)


def test_onnx_keeps_the_zeros(tmp_path: Path) -> None:
    model = autoprune.sparsify(network(), pattern="2:4", example_input=torch.zeros(1, *SHAPE)).model
    export_onnx(model, torch.zeros(1, *SHAPE), tmp_path / "small.onnx")
    stored = [numpy_helper.to_array(each) for each in onnx.load(tmp_path / "small.onnx").graph.initializer]
    counts = sorted(int((array == 0).sum()) for array in stored if array.ndim > 1)
    expected = sorted(int((p == 0).sum()) for p in model.parameters() if p.ndim > 1)
    assert counts == expected
    assert max(counts) > 0


def test_a_model_of_transformers_is_loaded_by_stock_code_with_its_zeros(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=8,
        patch_size=4,
        num_labels=3,
    )
    torch.manual_seed(0)
    vit = transformers.ViTForImageClassification(config)
    example = torch.zeros(1, 3, 8, 8)
    sparse = autoprune.sparsify(vit, pattern="2:4", example_input=example).model
    export_pretrained(sparse, example, tmp_path / "hf")
    stock = transformers.ViTForImageClassification.from_pretrained(tmp_path / "hf")
    for name, value in sparse.state_dict().items():
        assert torch.equal(stock.state_dict()[name], value), name
    masked = [p for name, p in stock.named_parameters() if p.ndim == 2 and "classifier" not in name]
    assert len(masked) >= 6
    assert all(largest_group(p, 4) == 2 for p in masked)


def test_a_checkpoint_pruned_by_torch_loads_as_plain_weights(tmp_path: Path) -> None:
    pruned = network()
    prune.l1_unstructured(pruned[3], "weight", amount=0.75)
    torch.save(pruned.state_dict(), tmp_path / "pruned.pth")
    plain = network()
    load_weights(plain, tmp_path / "pruned.pth")
    assert int((plain[3].weight == 0).sum()) == round(0.75 * plain[3].weight.numel())
    assert torch.equal(plain[3].weight, pruned[3].weight)
    held = network()
    prune.identity(held[3], "weight")
    load_weights(held, tmp_path / "pruned.pth")  # a model that torch holds masked takes both
    assert torch.equal(held[3].weight_mask, pruned[3].weight_mask)
    assert torch.equal(held[3].weight_orig, pruned[3].weight_orig)


def pruned_file(path: Path, pattern: str, layers: tuple[int, ...] = (3,)) -> Path:
    """A checkpoint as `torch.nn.utils.prune` leaves it."""
    model = network()
    for number in layers:
        kept = Assigned(PLAIN, pattern_of(pattern)).mask(torch.rand_like(model[number].weight))
        prune.custom_from_mask(model[number], "weight", kept)
    torch.save(model.state_dict(), path)
    return path


def test_masks_of_a_checkpoint_are_kept_in_training_and_the_others_stay_dense(tmp_path: Path) -> None:
    file = pruned_file(tmp_path / "pruned.pth", "2:4")
    mask = torch.load(file, weights_only=True)["3.weight_mask"] != 0
    result = sparsified(
        tmp_path / "run", masks=str(file), recipe="asp", finetune_epochs=1, target=TARGET, layout="compressed"
    )
    assert torch.equal(result.model[3].weight != 0, mask)
    assert not torch.equal(result.model[3].weight, network()[3].weight * mask)  # trained
    assert (result.model[6].weight != 0).all()
    rows = {row["name"]: row for row in result.report["layers"]}
    assert "no zero among the given masks" in rows["6.weight"]["reason"]
    assert f"pattern 2:4, masks of {file}, recipe asp" in sparsity_lines(result.report)
    again = autoprune.load(tmp_path / "run", model=network())
    assert torch.equal(again[3].weight, result.model[3].weight)


@pytest.mark.parametrize(
    ("masks", "settings", "word"),
    [
        ("2:4", {"recipe": "sr-ste"}, "chooses its own"),
        ("3:4", {}, "3.weight of .* is not 2:4: 3 weights of output"),
        ("other", {}, "for another network"),
        ("missing", {}, "no weights file"),
        ("own", {}, "no weight of the network's own weights .* has a zero"),
        ("2:4", {"criterion": "sparsegpt"}, "not with sparsegpt"),
    ],
)
def test_masks_that_cannot_be_kept_get_one_line(masks: str, settings: Any, word: str, tmp_path: Path) -> None:
    file = tmp_path / "pruned.pth"
    if masks == "other":
        torch.save({n: torch.zeros(*t.shape, 2) for n, t in network().state_dict().items()}, file)
    elif masks not in ("missing", "own"):
        pruned_file(file, masks)
    where = "own" if masks == "own" else str(file)
    with pytest.raises(InputError, match=word) as raised:
        sparsified(tmp_path / "run", masks=where, target=TARGET, **settings)
    assert "\n" not in str(raised.value)
