"""The layout that networks train in. What could stand still runs in a process with a limit."""

import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from autoprune.data import Augmentation
from autoprune.models import layout, precision
from autoprune.models.layout import arranged, canonical, canonical_convolutions, chosen_layout, in_layout
from autoprune.training import TrainSettings, train
from tests.support.layout_jobs import JOBS, Checkpointed, Net, Permuting, batches
from tests.support.paths import SUPPORT, importing

LAST = torch.channels_last
CPU = torch.device("cpu")
# Shows on a processor with AVX-512 what one with AVX2 alone does.
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "2"}
x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the fault is one of x86 kernels")
guarded = pytest.mark.skipif(not hasattr(torch.library, "get_kernel"), reason="this torch cannot be guarded")


def process(*jobs, seconds, **environment):
    """Standard output of a process that must end well within its limit."""
    command = [sys.executable, str(SUPPORT / "layout_jobs.py"), *jobs]
    done = subprocess.run(
        command, env=importing(**environment), capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr[-2000:])
    return done.stdout


@x86
@guarded
def test_every_way_into_the_faulty_kernel_ends():
    assert process(*JOBS, seconds=180, **AVX2).splitlines()[-1] == "compress"


@x86
@guarded
def test_odd_widths_in_any_layout_end():
    assert process("fuzz 1 25", seconds=120, **AVX2).endswith("fuzz 1 25\n")


@x86
def test_the_probe_sees_the_fault(monkeypatch, tmp_path):
    """So the tests above end because of what is done about it; skipped where torch is repaired."""
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path))
    for name, value in AVX2.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(layout, "_PROBE_SECONDS", 10.0)
    if layout.channels_last_is_sound():
        pytest.skip(f"torch {torch.__version__} is sound here")
    assert chosen_layout(CPU, bf16=False, channels_last=True) == "canonical"


@guarded
@pytest.mark.parametrize("kind", [Net, Permuting, Checkpointed])
def test_kernels_are_handed_row_major_tensors_alone(monkeypatch, kind):
    seen, find = [], torch.library.get_kernel

    class Spy:
        def __init__(self, name, key):
            self.name, self.kernel = name, find(name, key)

        def call_boxed(self, keys, *given, **named):
            seen.append(self.name)
            tensors = [each for each in given if isinstance(each, torch.Tensor)]
            assert all(each.stride() == torch.empty(each.shape).stride() for each in tensors)
            return self.kernel.call_boxed(keys, *given, **named)

    monkeypatch.setattr(torch.library, "get_kernel", Spy)
    monkeypatch.setattr(layout, "bf16_is_fast", lambda device: False)
    settings = TrainSettings(epochs=1, bf16=False)
    train(kind(3).to(memory_format=LAST), batches(3, last=True, count=1), settings=settings)
    assert seen.count("aten::convolution_backward") == 3  # the network's convolutions
    assert seen.count("aten::convolution") == (6 if kind is Checkpointed else 3)


@pytest.mark.parametrize(
    ("tensor", "copied"),
    [
        (torch.randn(5, 3, 4, 6), False),
        (torch.randn(5, 28, 28, 1).permute(0, 3, 1, 2), False),
        (torch.randn(8, 5, 1, 1).to(memory_format=LAST), False),
        (torch.randn(1, 1, 1, 1).as_strided((1, 1, 1, 1), (7, 5, 3, 2)), False),
        (torch.randn(5, 3, 4, 6).to(memory_format=LAST), True),
        (torch.randn(5, 1, 4, 6).expand(5, 3, 4, 6), True),
        (torch.randn(5, 7, 3).transpose(1, 2), True),
        (torch.randn(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d), True),
    ],
)
def test_canonical_strides(tensor, copied):
    tensor = tensor.requires_grad_()
    found = canonical(tensor)
    assert found.stride() == torch.empty(tensor.shape).stride()
    assert torch.equal(found, tensor)
    assert (found.data_ptr() != tensor.data_ptr()) == copied
    (gradient,) = torch.autograd.grad((found * 3).sum(), tensor)
    assert torch.equal(gradient, torch.full(tensor.shape, 3.0))


def test_canonical_tensors_are_handed_back_themselves():
    for tensor in (torch.randn(5, 1, 4, 1), torch.zeros(0, 3, 4, 6).to(memory_format=LAST), torch.eye(3).to_sparse()):
        assert canonical(tensor) is tensor


def test_grey_batches_are_row_major_at_the_source():
    images = torch.randint(0, 255, (6, 1, 8, 8), dtype=torch.uint8)
    found = Augmentation(pad=1)(images, torch.Generator().manual_seed(0))
    assert found.stride() == images.stride()


@guarded
@pytest.mark.parametrize("kind", [Net, Permuting, Checkpointed])
def test_gradients_do_not_depend_on_the_guard(kind):
    """On a processor with the fault only in NCHW can the other side be computed."""
    torch.manual_seed(0)
    net, (x, _) = kind(3).double(), batches(3)[0]
    net(x[:8].double()).square().sum().backward()
    plain = [each.grad.clone() for each in net.parameters()]
    net = net.to(memory_format=LAST)
    net.zero_grad()
    with canonical_convolutions():
        net(x[:8].double().to(memory_format=LAST)).square().sum().backward()
    for one, other in zip(plain, net.parameters(), strict=True):
        torch.testing.assert_close(one, other.grad)


@guarded
def test_guards_nest_and_end():
    conv, x = nn.Conv2d(3, 4, 1).to(memory_format=LAST), torch.randn(2, 3, 8, 8).to(memory_format=LAST)
    outside = conv(x).stride()
    with canonical_convolutions():
        with canonical_convolutions():
            pass
        assert conv(x).stride() == torch.empty(2, 4, 8, 8).stride()
    assert conv(x).stride() == outside != torch.empty(2, 4, 8, 8).stride()
    with pytest.raises(KeyError), canonical_convolutions():
        raise KeyError
    assert conv(x).stride() == outside


@pytest.mark.parametrize(
    ("native", "sound", "bf16", "wanted", "found"),
    [
        (True, False, None, None, "channels_last"),
        (True, False, None, False, "canonical"),
        (True, False, False, None, "canonical"),
        (False, True, None, None, "canonical"),
        (False, True, None, True, "channels_last"),
        (False, False, None, True, "canonical"),
        (False, False, True, None, "canonical"),  # emulated: nothing is gained
        (True, False, False, True, "canonical"),
    ],
)
def test_the_choice(monkeypatch, native, sound, bf16, wanted, found):
    monkeypatch.setattr(layout, "bf16_is_fast", lambda device: native)
    monkeypatch.setattr(precision, "bf16_is_fast", lambda device: native)
    monkeypatch.setattr(layout, "channels_last_is_sound", lambda: sound)
    assert chosen_layout(CPU, bf16, wanted) == found


def test_other_devices_know_no_fault(monkeypatch):
    device = torch.device("cuda")
    assert chosen_layout(device, bf16=True) == chosen_layout(device, bf16=False, channels_last=True) == "channels_last"
    assert chosen_layout(device, bf16=False) == "as it comes"
    x = torch.randn(2, 3, 4, 4)
    assert arranged(x, "as it comes") is x
    assert arranged(x, "channels_last").is_contiguous(memory_format=LAST)
    with in_layout("as it comes"):
        assert layout._library is None


@pytest.mark.parametrize("name", ["avx2", "AVX", "AVX512_CORE"])
def test_bfloat16_is_not_native_where_it_is_held_back(monkeypatch, name):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", name)
    assert not precision.bf16_is_fast(CPU)


def test_a_probe_is_taken_once_and_damage_is_no_answer(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path))
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    asked = []
    monkeypatch.setattr(layout, "_probed", lambda code, seconds: asked.append(seconds) or True)
    assert layout.channels_last_is_sound() and layout.channels_last_is_sound()
    assert len(asked) == 1
    (file,) = tmp_path.glob("layout-*.json")
    file.write_text("{")
    assert layout.channels_last_is_sound()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # another instruction set is asked for itself
    assert layout.channels_last_is_sound()
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("print('begun', flush=True)", True),
        ("print('begun', flush=True); import os; os.abort()", False),
        ("print('begun', flush=True); import time; time.sleep(60)", False),
        ("import time; time.sleep(60)", None),  # a busy machine: asked again next time
    ],
)
def test_what_a_probing_process_says(code, answer):
    assert layout._probed(code, 2.0) is answer
