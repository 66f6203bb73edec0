"""Fewer tokens: any text still encodes and decodes, the network's logits are those of the tokens that stay."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from autoprune.errors import InputError
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.models.folder import load_folder, save_folder
from autoprune.llm.texts import Text
from autoprune.llm.vocabulary import choose_tokens, rebuilt, with_tokens
from autoprune.llm.vocabulary.bpe import read_bpe
from tests.support.worded_models import SPECIAL, prose, word_tokenizer, worded_model

CORPUS = Text("corpus", (prose(80, 5).replace("1945", "12").replace("peace", "war"),))
TOKENIZER = word_tokenizer()
BPE = read_bpe(TOKENIZER)
TOKENS = CORPUS.tokens(TOKENIZER)
NEEDED = BPE.with_parts(TOKENS.tolist()) | BPE.always
CHOSEN = choose_tokens(BPE, TOKENS, len(NEEDED))
SMALLER = rebuilt(TOKENIZER, BPE, CHOSEN.kept)


def test_the_tokens_of_a_corpus_stay_and_cut_it_as_before():
    assert set(CHOSEN.kept) == NEEDED and len(NEEDED) < len(TOKENIZER) and CHOSEN.lost == 0
    assert [CHOSEN.kept[number] for number in CORPUS.tokens(SMALLER).tolist()] == TOKENS.tolist()


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40) | st.lists(st.sampled_from([*prose(20).split(), *SPECIAL, " ", "\n"])).map("".join))
def test_any_text_encodes_and_decodes_exactly(text):
    ids = SMALLER(text, add_special_tokens=False)["input_ids"]
    assert SMALLER.decode(ids, clean_up_tokenization_spaces=False) == text
    assert all(0 <= number < len(CHOSEN.kept) for number in ids)


def test_fewer_tokens_than_the_corpus_has_keep_the_most_frequent():
    count = len(BPE.always) + 12
    few = choose_tokens(BPE, TOKENS, count)
    assert len(few.kept) == count and 0 < few.lost < 1
    small = rebuilt(TOKENIZER, BPE, few.kept)
    assert len(small) == count and small.decode(small(prose(30))["input_ids"]) == prose(30)
    assert "Ġthe" in small.get_vocab()  # the corpus's most frequent word


def test_places_that_are_left_go_to_the_first_merges():
    more = choose_tokens(BPE, TOKENS, len(NEEDED) + 2)
    rest = sorted(set(BPE.ids.values()) - NEEDED)
    assert set(more.kept) - NEEDED == set(rest[:2])


def test_a_tokenizer_that_lacks_a_byte_writes_what_it_wrote_before():
    """SmolLM2's has no token for 21 of them: 13 that are in no text, and 8 that are in rare ones."""
    content = json.loads(TOKENIZER.backend_tokenizer.to_str())
    assert BPE.lacking == 0 and set(pre_tokenizers.ByteLevel.alphabet()) <= set(content["model"]["vocab"])
    content["model"]["vocab"].pop("z")
    content["model"]["merges"] = [m for m in content["model"]["merges"] if "z" not in "".join(m)]
    lacking = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)))
    bpe = read_bpe(lacking)
    assert bpe.lacking == 1 and len(bpe.always) == len(BPE.always) - 1
    small = rebuilt(lacking, bpe, choose_tokens(bpe, CORPUS.tokens(lacking), len(bpe.always) + 12).kept)
    for text, written in [("the state of peace", "the state of peace"), ("a zone, ozone", "a one, oone")]:
        for tokenizer in (lacking, small):
            assert tokenizer.decode(tokenizer(text)["input_ids"], clean_up_tokenization_spaces=False) == written


def test_fewer_than_the_bytes_and_special_tokens_are_refused():
    with pytest.raises(InputError, match=f"the bytes and special tokens are {len(BPE.always)} already"):
        choose_tokens(BPE, TOKENS, 200)


@pytest.mark.parametrize("tied", [True, False])
def test_the_logits_are_those_of_the_tokens_that_stay(tied, tmp_path):
    network, tokenizer = worded_model(tie_word_embeddings=tied)
    small = with_tokens(network, CHOSEN.kept)
    ids = CORPUS.tokens(SMALLER)[:20][None]
    old = torch.tensor(CHOSEN.kept)
    with torch.no_grad():
        expected = network(input_ids=old[ids], use_cache=False).logits[..., old]
        torch.testing.assert_close(small(input_ids=ids).logits, expected)
    assert small.config.vocab_size == len(CHOSEN.kept)
    assert CHOSEN.kept[small.config.eos_token_id] == tokenizer.eos_token_id == BPE.ids[SPECIAL[0]]
    assert (
        small.config.eos_token_id == SMALLER.eos_token_id
        and small.generation_config.eos_token_id == SMALLER.eos_token_id
    )
    save_folder(LanguageModel(small, SMALLER, "small"), tmp_path / "small")
    loaded = load_folder(tmp_path / "small", "loaded")
    with torch.no_grad():
        assert torch.equal(loaded.network(input_ids=ids).logits, small(input_ids=ids).logits)
    assert loaded.tokenizer("the state")["input_ids"] == SMALLER("the state")["input_ids"]


def test_a_token_put_before_texts_has_its_new_number():
    tokenizer = word_tokenizer()
    number = tokenizer.convert_tokens_to_ids(SPECIAL[1])
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[1]} $A", special_tokens=[(SPECIAL[1], number)]
    )
    bpe = read_bpe(tokenizer)
    kept = [n for n in CHOSEN.kept if n != BPE.ids[SPECIAL[0]]] + [BPE.ids[SPECIAL[0]]]  # numbers move
    small = rebuilt(tokenizer, bpe, kept)
    assert small("the")["input_ids"][0] == kept.index(number) == small.bos_token_id


@pytest.mark.slow
def test_llama_cpp_reads_the_smaller_vocabulary(tmp_path):
    pytest.importorskip("xllamacpp")
    from autoprune.llm.gguf import write_gguf
    from autoprune.llm.llamacpp import LlamaCpp, agreement

    network, _ = worded_model()
    small = with_tokens(network, CHOSEN.kept)
    write_gguf(small, SMALLER, tmp_path / "it.gguf", "f32")
    with LlamaCpp(tmp_path / "it.gguf", context=256) as session:
        found = agreement(small, SMALLER, session, [prose(20, 3), "peace in 1945: naïve"], predict=6, tolerance=0.005)
    assert found.holds, found
