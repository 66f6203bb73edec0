"""Language models in OpenVINO: weights are the numbers of a GGUF file, and the runtime computes with them."""

import numpy as np
import pytest
import torch
from torch import nn

from autoprune.errors import InputError
from autoprune.llm.evaluation.perplexity import Reading, perplexity
from autoprune.llm.gguf.formats import gguf_package
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.models.folder import load_folder
from autoprune.llm.openvino import load_openvino, save_openvino
from autoprune.llm.openvino.agreement import agreement_in_openvino
from autoprune.llm.openvino.graph import step_graph
from autoprune.llm.openvino.weights import compress_weights, whole_numbers
from autoprune.llm.search.openvino_timer import OpenVinoTimer
from autoprune.llm.texts import Text
from tests.support.language_models import prose
from tests.support.worded_models import worded_model

openvino = pytest.importorskip("openvino")
ops = pytest.importorskip("openvino.opset13")

TEXT = Text("prose", (prose(100),))


@pytest.fixture(scope="module")
def model():
    return LanguageModel(*worded_model(), "worded")


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    """The model with matrices in 32, 8 and 4 bits, as folders of one exported graph."""
    folder, graph = tmp_path_factory.mktemp("written"), step_graph(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autoprune.llm.openvino.folder.step_graph", lambda model: graph.clone())
        found = {kind: save_openvino(model, folder / kind, kind) for kind in ("f32", "q8_0", "q4_0")}
    return folder, found


def as_gguf(values, kind):
    """What a GGUF file of a type makes of a matrix, float32."""
    gguf = gguf_package()
    kind = gguf.GGMLQuantizationType[kind]
    return gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)


@pytest.mark.parametrize(("kind", "least", "most"), [("Q8_0", -127, 127), ("Q4_0", -8, 7)])
def test_whole_numbers_and_scales_are_those_of_a_gguf_file(kind, least, most):
    values = np.random.default_rng(0).standard_normal((5, 96)).astype(np.float32)
    values[:, ::3] = 0
    values[2, 32:64] = 0  # a block whose scale is zero
    numbers, scales = whole_numbers(values, kind)
    assert numbers.shape == (5, 3, 32) and scales.shape == (5, 3, 1)
    assert numbers.min() == least and numbers.max() <= most
    found = (numbers * scales.astype(np.float32)).reshape(values.shape)
    assert np.array_equal(found, as_gguf(values, kind)) and not found[values == 0].any()


def little_graph(rows, table):
    """A look-up and a product, whose weights are handed over."""
    ids, keep = ops.parameter([-1], np.int64), ops.constant(np.int64(0))
    looked_up = ops.gather(ops.constant(table), ids, keep)
    return openvino.Model([ops.matmul(looked_up, ops.constant(rows), False, True)], [ids], "little")


@pytest.mark.parametrize(("kind", "of_rows"), [("q8_0", "Q8_0"), ("q4_0", "Q4_0")])
def test_a_graph_holds_these_numbers_and_embeddings_keep_8_bits(kind, of_rows):
    draw = np.random.default_rng(1)
    rows, table = draw.standard_normal((6, 64), np.float32), draw.standard_normal((9, 64), np.float32)
    graph = little_graph(rows, table)
    found = compress_weights(graph, kind, vocabulary=99)
    assert (found.matrices, found.coarse) == (2, 0)
    stored = {node.get_element_type().to_string() for node in graph.get_ops() if node.get_type_name() == "Constant"}
    assert {"i8", f"i{of_rows[1]}"} <= stored
    exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    compiled = openvino.Core().compile_model(graph, "CPU", exact)
    out = compiled([np.arange(9)])[0]
    assert out == pytest.approx(as_gguf(table, "Q8_0") @ as_gguf(rows, of_rows).T, abs=1e-3)


def test_matrices_that_are_no_whole_blocks_are_f16_and_counted():
    draw = np.random.default_rng(1)
    graph = little_graph(draw.standard_normal((6, 40), np.float32), draw.standard_normal((9, 40), np.float32))
    assert compress_weights(graph, "q4_0", vocabulary=6).coarse == 2
    assert compress_weights(little_graph(*[np.ones((6, 40), np.float32)] * 2), "f16", 6).coarse == 0


def test_the_runtime_computes_the_network_whose_weights_are_rounded(model, written):
    folder, found = written
    assert found["q8_0"].coarse == found["q4_0"].coarse == 0
    assert (folder / "q4_0/openvino_model.bin").stat().st_size < (folder / "q8_0/openvino_model.bin").stat().st_size
    for kind in ("q8_0", "q4_0"):
        rounded, _ = worded_model()
        for name, module in rounded.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                own = "Q8_0" if kind == "q8_0" or name.endswith(("embed_tokens", "lm_head")) else "Q4_0"
                module.weight.data = torch.from_numpy(as_gguf(module.weight.detach().numpy(), own))
        wanted = perplexity(LanguageModel(rounded.eval(), model.tokenizer, kind), TEXT, Reading(32, None, 200))
        own = perplexity(load_openvino(folder / kind, kind), TEXT, Reading(32, None, 200))
        assert own.tokens == wanted.tokens
        # Processors with products of integers round what is read to 8 bits, too.
        assert own.perplexity == pytest.approx(wanted.perplexity, rel=0.03)


def test_openvino_agrees_with_pytorch_but_not_with_another_network(model, written):
    loaded = load_openvino(written[0] / "f32", "f32")
    texts = ["the state of", "peace"]
    found = agreement_in_openvino(model.network, model.tokenizer, loaded, texts, tolerance=0.02)
    assert found.holds and found.largest < 1e-3 and found.tokens == (2, 2)
    other, _ = worded_model()
    with torch.no_grad():
        other.model.layers[0].mlp.down_proj.weight.mul_(3)
    assert not agreement_in_openvino(other, model.tokenizer, loaded, texts, tolerance=0.02).holds


def test_what_openvino_has_no_kernels_for_is_refused(model, tmp_path, written):
    with pytest.raises(InputError, match=r"q4_1 is llama.cpp's alone; openvino takes --type f32, f16, q8_0, q4_0"):
        save_openvino(model, tmp_path / "it", "q4_1")
    with pytest.raises(InputError, match=r"q4_1 is llama.cpp's alone"):
        OpenVinoTimer(8, "q4_1").require()
    with pytest.raises(InputError, match="give the model that it was made of"):
        load_folder(written[0] / "q8_0", "it")
    (tmp_path / "torn").mkdir()
    for file in (written[0] / "q8_0").iterdir():
        (tmp_path / "torn" / file.name).write_bytes(file.read_bytes()[: 2000 if file.suffix == ".xml" else None])
    with pytest.raises(InputError, match=r"^cannot read the graph in .*torn: "):
        load_openvino(tmp_path / "torn", "torn")
