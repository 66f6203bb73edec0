"""Text classification with a model of transformers and batches that are mappings, as its tokenizers give them.

Nothing says which parts of a batch are inputs: the keys are those of the model's forward, and `labels` is what is
learned. From Python: `python -m examples.text_classification`. From the command line:

    autoprune compress --model examples.text_classification:network --data examples.text_classification:loaders \
        --params 70% --agent random --episodes 20 --train-epochs 4 --finetune-epochs 2 --run text
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

__all__ = ["loaders", "main", "network"]

WORDS = 64
LENGTH = 12


def network() -> nn.Module:
    """BERT with two small layers, made from a config and not trained."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=LENGTH,
        num_labels=2,
    )
    return BertForSequenceClassification(config)


def _sentences(count: int, seed: int) -> DataLoader[dict[str, Tensor]]:
    """Sentences of up to 12 words: whether more of them are from the first half of the vocabulary."""
    draw = torch.Generator().manual_seed(seed)
    words = torch.randint(1, WORDS, (count, LENGTH), generator=draw)
    lengths = torch.randint(LENGTH // 2, LENGTH + 1, (count, 1), generator=draw)
    present = (torch.arange(LENGTH) < lengths).long()
    labels = ((words < WORDS // 2).long() * present).sum(1) * 2 > lengths[:, 0]
    columns = {"input_ids": words * present, "attention_mask": present, "labels": labels.long()}
    rows = [{name: column[i] for name, column in columns.items()} for i in range(count)]
    return DataLoader(rows, batch_size=32, shuffle=seed == 0)  # type: ignore[arg-type]  # a list is a data set


def loaders() -> Sequence[DataLoader[dict[str, Tensor]]]:
    """Loaders of train, search and test; each batch has input_ids, attention_mask and labels."""
    return _sentences(1024, 0), _sentences(256, 1), _sentences(256, 2)


def main() -> None:
    """Train the dense network as transformers' users do, then compress it to 70 % of its parameters."""
    import autoprune

    torch.manual_seed(0)
    train, search, test = loaders()
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(4):
        for batch in train:
            optimizer.zero_grad()
            model(**batch).loss.backward()
            optimizer.step()
    result = autoprune.compress(
        model,
        train=train,
        search=search,
        test=test,
        budget="params<=70%",
        agent="random",
        episodes=20,
        finetune_epochs=2,
    )
    for name in ("dense", "finetuned"):
        figures = result.report[name]
        print(f"{name}: accuracy {figures['accuracy']:.1%}, {figures['params']:,} parameters")  # noqa: T201


if __name__ == "__main__":
    main()
