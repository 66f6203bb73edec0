"""Models by reference: `package.module:factory` in the current folder."""

import sys
from pathlib import Path

import pytest
from torch import nn

from autoprune import models
from autoprune.errors import InputError

SOURCE = """
from torch import nn
def net():
    import lazy_neighbour_of_factory
    return nn.Linear(4, lazy_neighbour_of_factory.OUTPUTS)
class Net(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
def number(): return 3
def fails(): raise ValueError("no such layer\\nsecond line")
def wants(x): return x
made = nn.Linear(1, 1)
label = "text"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is current but not on the import path, with modules of names that no other test uses."""
    (tmp_path / "factory_under_test.py").write_text(SOURCE)
    (tmp_path / "lazy_neighbour_of_factory.py").write_text("OUTPUTS = 3\n")
    (tmp_path / "broken_under_test.py").write_text("raise OSError('no licence')\n")
    (tmp_path / "needy_under_test.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield tmp_path
    for name in ("factory_under_test", "lazy_neighbour_of_factory"):
        sys.modules.pop(name, None)


def test_a_factory_in_the_current_folder_is_found_and_the_path_left_clean(here: Path) -> None:
    before = list(sys.path)
    model = models.build("factory_under_test:net")
    assert isinstance(model, nn.Linear)
    assert model.out_features == 3
    assert models.build("factory_under_test:Net").in_features == 2
    assert sys.path == before


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("factory_under_test:absent", "has no absent"),
        ("factory_under_test:label", "label is str, which cannot be called"),
        ("factory_under_test:number", "returned 3; it must return a torch.nn.Module"),
        ("factory_under_test:fails", r"raised ValueError: no such layer \(.*factory_under_test\.py:\d+\)$"),
        ("factory_under_test:wants", "raised TypeError"),
        ("factory_under_test:made", "a module itself"),
        ("no_such_module_at_all:net", "no module no_such_module_at_all"),
        ("broken_under_test:net", "importing broken_under_test failed: OSError: no licence"),
        ("needy_under_test:net", "no module a_package_that_nobody_has .imported by needy_under_test"),
    ],
)
def test_what_is_wrong_is_said(here: Path, spec: str, said: str) -> None:
    before = list(sys.path)
    with pytest.raises(InputError, match=said) as caught:
        models.build(spec)
    assert "\n" not in str(caught.value)
    assert sys.path == before


@pytest.mark.parametrize(("spec", "near"), [("resnet-20", "resnet20"), ("MobileNetV2", "mobilenet_v2"), ("", "")])
def test_an_unknown_name_is_answered_with_the_nearest(spec: str, near: str) -> None:
    with pytest.raises(InputError, match=f"nearest name is {near}"):
        models.build(spec)
