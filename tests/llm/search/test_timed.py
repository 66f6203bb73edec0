"""Latencies of language models: the fit through measured shapes, and the timer of PyTorch."""

import gc
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.hardware.contract.protocol import Protocol
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.openvino import OpenVinoSession
from autoprune.llm.search import timers
from autoprune.llm.search.decisions import read_levers
from autoprune.llm.search.openvino_timer import OpenVinoTimer
from autoprune.llm.search.timed import fitted_cost, held_out_errors, shapes_to_check, shapes_to_time
from autoprune.llm.search.timers import LlamaCppTimer, TorchTimer, prompt_of
from autoprune.llm.structured.base import Calibration
from tests.support.language_models import CONFIGS, language_model
from tests.support.language_timers import Formula

WINDOWS = torch.randint(0, 250, (4, 24), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def llama():
    return read_levers(language_model().network, Calibration(WINDOWS), lambda key, compute: compute())


def test_a_latency_that_is_a_sum_is_priced_exactly(llama):
    timer = Formula()
    shapes = [llama.space.complete({}), *shapes_to_time(llama.space)]
    ms = torch.tensor([timer.ms(llama.cut(choices)) for choices in shapes]).double().numpy()
    cost, errors = fitted_cost(llama, shapes, ms, "decode_latency")
    assert errors.worst < 1e-3
    for choices in [{"ffn": 48, "heads": 1}, {"blocks": 1, "hidden": 48, "queries": 1}]:
        assert cost.cost(choices) == pytest.approx(timer.ms(llama.cut(choices)), rel=0.01)


def test_shapes_left_out_say_what_no_sum_can(llama):
    shapes = [llama.space.complete({}), *shapes_to_time(llama.space), *shapes_to_check(llama.space)]
    assert len({str(sorted(choices.items())) for choices in shapes}) == len(shapes) == 11
    assert shapes_to_check(llama.space) == shapes[-3:]  # drawn alike each time
    ms = torch.tensor([Formula().ms(llama.cut(choices)) for choices in shapes]).double().numpy()
    assert held_out_errors(llama, shapes, ms, 3).worst < 0.01
    ms[-1] *= 1.25
    found = held_out_errors(llama, shapes, ms, 3)
    assert found.worst == pytest.approx(0.2, abs=0.01) and found.n == 3


def test_widths_whose_rows_llama_cpp_is_slow_at_are_not_offered():
    network = language_model(hidden_size=144, intermediate_size=200, head_dim=16).network
    only, text = ("ffn", "hidden", "heads", "queries"), Calibration(WINDOWS)
    every, fast = (
        read_levers(network, text, lambda key, compute: compute(), only, row_multiple=multiple).space
        for multiple in (1, LlamaCppTimer.row_multiple)
    )
    options = {decision.name: decision.options for decision in fast.decisions}
    assert {d.name: d.options[-1] for d in every.decisions} == {name: each[-1] for name, each in options.items()}
    assert all(width % 32 == 0 for width in (*options["ffn"][:-1], *options["hidden"][:-1]))
    for name, before in {d.name: d.options for d in every.decisions if d.name in ("ffn", "hidden")}.items():
        assert 1 < len(options[name]) < len(before)


def test_the_dense_model_is_written_once_for_llama_cpp_and_files_go_with_their_networks(monkeypatch):
    def written(network, tokenizer, path, number_format):
        path.write_text(number_format)
        files.append(path)

    def timed(paths, phase, *, context, tokens):
        assert [path.read_text() for path in paths] == ["q8_0"] * len(paths) and phase == "decode"
        return [SimpleNamespace(ms=float(context * tokens)) for _ in paths]

    files = []
    monkeypatch.setattr(timers, "write_gguf", written)
    monkeypatch.setattr(timers, "time_phase", timed)
    timer, dense = LlamaCppTimer(prompt=8, number_format="q8_0"), LanguageModel(nn.Linear(2, 2), None, "dense")
    for _ in range(2):
        other = LanguageModel(nn.Linear(2, 2), None, "other")
        assert timer.times([other, dense], "decode") == [8.0, 8.0]
        del other
        gc.collect()
    assert len(files) == 3 and [path.parent.exists() for path in files] == [False, True, False]
    del dense
    gc.collect()
    assert not files[1].parent.exists()


def test_torch_times_more_blocks_longer():
    class Quick(TorchTimer):
        protocol = Protocol(block=0.004, warmup=1, least_blocks=3, most_blocks=4, closing=0)

    models = [language_model(num_hidden_layers=1), language_model(num_hidden_layers=8)]
    before = torch.get_num_threads()
    for phase in ("prefill", "decode"):
        few, many = Quick(prompt=8).times(models, phase)
        assert many > 2 * few > 0
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "kind", ["llama", *(pytest.param(kind, marks=pytest.mark.slow) for kind in CONFIGS if kind != "llama")]
)
def test_openvino_answers_as_pytorch_whatever_it_has_read_before(kind):
    pytest.importorskip("openvino")
    model = language_model(kind)
    session, ids = OpenVinoSession.of(model), prompt_of(model.network, 12)
    with torch.no_grad():
        wanted = model.network(input_ids=ids).logits[0].numpy()
    for begin, end in ((0, 7), (7, 8), (8, 12)):
        assert session.read(ids[:, begin:end])[0, 0] == pytest.approx(wanted[end - 1], abs=1e-5)
        if end == 8:
            known = session.state()
    session.recall(known)
    assert session.read(ids[:, 8:9])[0, 0] == pytest.approx(wanted[8], abs=1e-5)
    session.forget()
    assert session.read(ids)[0, 0] == pytest.approx(wanted[11], abs=1e-5)


@pytest.mark.slow
def test_openvino_times_more_blocks_longer():
    pytest.importorskip("openvino")

    class Quick(OpenVinoTimer):
        protocol = Protocol(block=0.004, warmup=1, least_blocks=3, most_blocks=4, closing=0)

    models = [language_model(num_hidden_layers=1), language_model(num_hidden_layers=6)]
    for phase in ("prefill", "decode"):
        few, many = Quick(prompt=8).times(models, phase)
        assert many > 1.5 * few > 0


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_a_prompt_beyond_the_learned_positions_is_refused_in_one_line(phase):
    model = language_model("gpt2", n_positions=32)
    with pytest.raises(InputError, match=r"^--prompt 40: .* cannot read 56 tokens, of which 16 are decoded .*$"):
        TorchTimer(prompt=40).times([model], phase)
