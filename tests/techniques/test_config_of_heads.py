"""A config that has the right shapes and the wrong heads: two of the whole size are not four of half of it."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from autoprune.graph import analyse, cut
from autoprune.techniques.structured.pretrained_config import follow_config


@pytest.mark.parametrize("queries", [2, 3])  # heads on each head of keys and values; SmolLM2 has three
def test_whole_heads_that_are_cut_stay_whole_in_the_config(queries):
    sizes = {"hidden_size": 32 * queries, "intermediate_size": 80, "num_attention_heads": 2 * queries}
    sizes["num_key_value_heads"] = 2
    config = LlamaConfig(**sizes, vocab_size=97, num_hidden_layers=2, use_cache=False)
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    ids = torch.arange(16).reshape(2, 8) + 3
    analysis = analyse(model, (ids,), blocks=False)
    heads = {group.name: [1] for group in analysis.groups if group.kind == "heads"}
    small = cut(model, analysis, heads)
    follow_config(small, analysis, analysis.widths(dict.fromkeys(heads, 1)))
    said = small.config.num_attention_heads, small.config.num_key_value_heads, small.config.head_dim
    assert said == (queries, 1, 16)
    stock = LlamaForCausalLM(small.config).eval()
    stock.load_state_dict(small.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(stock(ids).logits, small(ids).logits)
