"""Perplexity is what its formula says, whatever the windows; texts that cannot be scored are named."""

import math

import pytest
import torch

from autoprune.errors import InputError
from autoprune.llm.evaluation.perplexity import Reading, perplexity, windows_of
from autoprune.llm.texts import Text, read_text, reference_prose
from autoprune.llm.windows import calibration_windows
from tests.support.language_models import byte_tokenizer, language_model, prose

TEXT = Text("prose", (prose(100),))


def by_hand(model, ids, context, stride):
    """Every token once, each by as much of the text before it as its window has: the formula, token by token."""
    losses, scored = [], 0
    for begin in range(0, len(ids) - context + 1, stride):
        with torch.no_grad():
            logits = model.network(ids[begin : begin + context][None]).logits[0].double().log_softmax(-1)
        fresh = range(max(1, scored - begin), context)
        losses += [-float(logits[place - 1, ids[begin + place]]) for place in fresh]
        scored = begin + context
    return math.exp(sum(losses) / len(losses)), len(losses)


@pytest.mark.parametrize(("context", "stride"), [(32, None), (32, 16), (32, 5), (64, 64)])
def test_perplexity_by_its_formula(context, stride):
    model = language_model()
    found = perplexity(model, TEXT, Reading(context, stride, 300))
    wanted, tokens = by_hand(model, TEXT.tokens(model.tokenizer)[:300], context, stride or context)
    if stride is None or stride == context:  # the first token of each window is not scored
        assert tokens == found.tokens == (300 // context) * (context - 1)
    assert found.perplexity == pytest.approx(wanted, rel=1e-5) and found.tokens == tokens
    assert (found.name, found.context, found.stride) == ("prose", context, stride or context)


def test_a_model_that_knows_nothing_hesitates_between_all_tokens():
    model = language_model()
    with torch.no_grad():
        model.network.get_output_embeddings().weight.zero_()
    assert perplexity(model, TEXT, Reading(32)).perplexity == pytest.approx(260, rel=1e-5)


def test_windows_begin_with_what_the_tokenizer_puts_first():
    model = language_model()
    started = type(model)(model.network, byte_tokenizer(start=True), "m")
    windows = windows_of(started, TEXT, Reading(32))
    assert (windows[:, 0] == 256).all() and windows.shape[1] == 32
    assert windows[:, 1:].flatten().tolist() == TEXT.tokens(model.tokenizer)[: windows[:, 1:].numel()].tolist()
    assert perplexity(started, TEXT, Reading(32)).tokens == windows[:, 1:].numel()


def test_texts_too_short_are_refused():
    model = language_model()
    with pytest.raises(InputError, match=r"short is too short: it has 5 tokens, and the context is 32"):
        perplexity(model, Text("short", ("a b c",)), Reading(32))
    with pytest.raises(InputError, match=r"calibration text short is too short: it has 5 tokens"):
        calibration_windows(Text("short", ("a b c",)), model.tokenizer, 2, 32)
    with pytest.raises(InputError, match="predicts nothing"):
        Reading(1)
    with pytest.raises(InputError, match="stride of 0"):
        Reading(8, 0)


def test_predictions_that_are_no_numbers_are_refused():
    model = language_model()
    with torch.no_grad():
        model.network.get_input_embeddings().weight[3] = torch.nan
        model.network.get_output_embeddings().weight.fill_(torch.nan)
    with pytest.raises(InputError, match="predictions of llama on prose are not finite"):
        perplexity(model, TEXT, Reading(32))


def test_calibration_windows_are_pieces_of_the_text():
    tokenizer = byte_tokenizer()
    windows = calibration_windows(TEXT, tokenizer, 5, 40, seed=1)
    assert windows.shape == (5, 40)
    assert all(tokenizer.decode(window) in TEXT.documents[0] for window in windows)
    assert torch.equal(windows, calibration_windows(TEXT, tokenizer, 5, 40, seed=1))
    assert not torch.equal(windows, calibration_windows(TEXT, tokenizer, 5, 40, seed=2))


def test_texts_from_files_and_folders(tmp_path):
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.md").write_text("one")
    (tmp_path / "a" / "picture.png").write_bytes(b"\x89")
    assert read_text(tmp_path).documents == ("one", "two")
    assert read_text(tmp_path / "b.txt").name == "b"
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bad\.txt is not text"):
        read_text(tmp_path)
    with pytest.raises(InputError, match="there is no text at"):
        read_text(tmp_path / "gone")
    (tmp_path / "a" / "x.md").unlink()
    with pytest.raises(InputError, match="holds no text files"):
        read_text(tmp_path / "a")
    (tmp_path / "b.txt").write_text("  \n")
    with pytest.raises(InputError, match="is empty"):
        read_text(tmp_path / "b.txt")


def test_every_python_has_a_second_domain():
    assert len(reference_prose().documents[0]) > 0
    assert sum(len(one) for one in reference_prose().documents) > 100_000
