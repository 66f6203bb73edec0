"""The steps of a recovery. It can be killed at any moment: what it goes on from is on disk at every look."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from autoprune.errors import InputError
from autoprune.foundations.files import replacing
from autoprune.foundations.progress import Bar
from autoprune.foundations.seeding import stream
from autoprune.llm.blocks.recomputed import recomputed
from autoprune.llm.blocks.stack import decoder_stack
from autoprune.llm.models.base import LanguageModel
from autoprune.llm.recovery.base import Recovered, RecoveryPlan
from autoprune.llm.recovery.objective import loss_of, text_loss
from autoprune.llm.recovery.weights import ZeroMasks, copied, prepared, settled
from autoprune.llm.texts import Text
from autoprune.llm.windows import calibration_windows, first_token
from autoprune.models.precision import autocast, device_of

__all__ = ["recover"]

_HELD_OUT = 8  # windows of the held-out text, at most
_NORM = 1.0  # gradients are clipped to this


@dataclass(eq=False)
class _State:
    """How far a training has come.

    Attributes:
        step: Steps taken.
        losses: (step, held-out loss) at every look.
        best: Step of the best look.
        weights: The trained weights there.
    """

    step: int
    losses: list[tuple[int, float]]
    best: int
    weights: dict[str, Tensor]

    @property
    def looks_since_best(self) -> int:
        return sum(1 for step, _ in self.losses if step > self.best)


def recover(
    model: LanguageModel,
    teacher: nn.Module | None,
    texts: tuple[Text, Text],
    plan: RecoveryPlan,
    checkpoint: Path | None = None,
    bar: Bar | None = None,
) -> tuple[LanguageModel, Recovered]:
    """Train a pruned model, going on from a checkpoint if there is one.

    Args:
        model: The pruned model; its network is trained in place.
        teacher: The dense network; None without distillation.
        texts: What it is trained on, and what it is held out for the looks.
        plan: How.
        checkpoint: File that the training is kept in.
        bar: Shows steps, and the held-out loss.

    Returns:
        The model with the weights of its best look, which may be those that it came with.

    Raises:
        InputError: If a text is too short, or a loss is not finite.
    """
    training = _Training(model, teacher, texts, plan, checkpoint)
    training.go_on(bar)
    return training.result()


class _Training:
    def __init__(
        self,
        model: LanguageModel,
        teacher: nn.Module | None,
        texts: tuple[Text, Text],
        plan: RecoveryPlan,
        checkpoint: Path | None,
    ) -> None:
        self.model, self.plan, self.file = model, plan, checkpoint
        self.dtype = next(model.network.parameters()).dtype
        network = model.network.float()
        self.masks = ZeroMasks(network)
        self.network, self.weights = prepared(network, plan.kind, self.masks.share, plan.seed)
        self.loss = loss_of(self.network, teacher, plan.distillation if teacher is not None else 0.0)
        self.optimizer = torch.optim.AdamW(self.weights.values(), lr=plan.rate, weight_decay=0.0)
        self.text = texts[0]
        self.tokens = self.text.tokens(model.tokenizer)
        length = min(plan.length, max(2, len(texts[1].tokens(model.tokenizer))))
        self.held_out = calibration_windows(texts[1], model.tokenizer, _HELD_OUT, length, plan.seed)
        self.start = first_token(model.tokenizer)
        self.state = self._stored() or _State(0, [(0, self._look())], 0, copied(self.weights))

    def go_on(self, bar: Bar | None) -> None:
        """Steps until the last, or until nothing gets better any more."""
        while self.state.step < self.plan.steps and not self._stops():
            self._step(self.state.step)
            self.state.step += 1
            if self.state.step % self.plan.every == 0 or self.state.step == self.plan.steps:
                self._looked(self._look())
                self._store()
            if bar is not None:
                bar.update(self.state.step, loss=self.state.losses[-1][1])

    def result(self) -> tuple[LanguageModel, Recovered]:
        """The model at its best look, and how the training went."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self.state.weights[name])
        network = settled(self.network).to(self.dtype)
        state = self.state
        tokens = state.step * self.plan.batch * self.plan.length
        done = Recovered(state.step, tokens, tuple(state.losses), state.best, self._stops())
        return self.model.with_network(network), done

    def _stops(self) -> bool:
        return self.state.looks_since_best >= self.plan.patience

    def _step(self, step: int) -> None:
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate_at(step)
        self.optimizer.zero_grad()
        loss = self._backward(self._windows(step))
        if not math.isfinite(loss):
            raise InputError(
                f"the loss of step {step + 1} is not finite; give a smaller --recover-lr than {self.plan.rate:g}"
            )
        self.masks.of_gradients()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), _NORM)
        self.optimizer.step()
        self.masks.hold()

    def _backward(self, ids: Tensor) -> float:
        """The loss on windows, whose gradients are left in the weights."""
        with self._memory():
            with autocast(device_of(self.network), None):
                loss = self.loss(ids)
            loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _windows(self, step: int) -> Tensor:
        """The windows of a step, whatever came before it: (batch, length)."""
        own = self.plan.length - len(self.start)
        if len(self.tokens) < own:
            raise InputError(f"the calibration text {self.text.name} is too short: it has {len(self.tokens)} tokens")
        draws = torch.Generator().manual_seed(stream(self.plan.seed, step))
        begins = torch.randint(len(self.tokens) - own + 1, (self.plan.batch,), generator=draws).tolist()
        start = torch.tensor(self.start, dtype=torch.int64)
        return torch.stack([torch.cat([start, self.tokens[begin : begin + own]]) for begin in begins])

    @torch.no_grad()
    def _look(self) -> float:
        self.network.eval()
        losses = []
        for window in self.held_out:
            ids = window[None].to(device_of(self.network))
            with autocast(device_of(self.network), None):
                logits = self.network(input_ids=ids, use_cache=False).logits
            losses.append(float(text_loss(logits, ids)))
        return sum(losses) / len(losses)

    def _looked(self, loss: float) -> None:
        state = self.state
        if loss < min(each for _, each in state.losses):
            state.best, state.weights = state.step, copied(self.weights)
        state.losses.append((state.step, loss))

    def _memory(self) -> AbstractContextManager[None]:
        return recomputed(decoder_stack(self.network)) if self.plan.checkpointing else nullcontext()

    def _store(self) -> None:
        if self.file is None:
            return
        state = self.state
        content = {
            "step": state.step, "losses": [list(each) for each in state.losses], "best": state.best,
            "weights": copied(self.weights), "best_weights": state.weights, "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        with replacing(self.file) as temporary:
            torch.save(content, temporary)

    def _stored(self) -> _State | None:
        if self.file is None or not self.file.exists():
            return None
        content = torch.load(self.file, weights_only=True)
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(content["weights"][name])
        self.optimizer.load_state_dict(content["optimizer"])
        losses = [(int(step), float(loss)) for step, loss in content["losses"]]
        return _State(content["step"], losses, content["best"], content["best_weights"])
