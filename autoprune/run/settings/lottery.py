"""What a study of lottery tickets is to show."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from autoprune.run.settings.base import Settings, joined, setting

__all__ = ["CHANNELS_FORM", "CONTROLS", "CSR_FORM", "LotterySettings", "n_of_m"]

CONTROLS = ("reinit", "shuffled", "random", "finetune", "lr-rewind", "small")
"""What a ticket may be held against, beside the dense network."""


_ROUNDS = _DELIVERED, _ALL = "delivered", "all"

CHANNELS_FORM, CSR_FORM = "channels", "csr"
"""Forms of a ticket beside N:M."""


def n_of_m(text: str) -> tuple[int, int]:
    """The two numbers of a form N:M.

    Raises:
        ValueError: If it is none.

    >>> n_of_m("2:4")
    (2, 4)
    """
    n, _, m = text.partition(":")
    if not (n.isdecimal() and m.isdecimal() and 0 < int(n) < int(m) <= 1024):
        raise ValueError(f"there is no form {text!r}; there are {CHANNELS_FORM}, {CSR_FORM} and N:M such as 2:4")
    return int(n), int(m)


class LotterySettings(Settings):
    """Rounds of iterative magnitude pruning, and what its tickets are held against."""

    panel = "Lottery"

    rounds: int = setting(
        10, "prunings of a ticket, each followed by a training from the rewound weights", ge=1, le=200
    )
    rate: float = setting(0.2, "share of the weights that are left that goes in a round", gt=0, lt=1)
    layer_rate: tuple[str, ...] = setting(
        (), "PATTERN=RATE: another rate for the layers meant (fc3=0.1), with --per layer; may be repeated"
    )
    per: Literal["layer", "global"] = setting(
        "layer", "whether every layer loses its own smallest weights, or all layers together lose theirs"
    )
    rewind: int = setting(
        0,
        "training step whose weights a ticket starts from, with that step's rate and batches; 0: the first weights",
        ge=0,
        le=1_000_000_000,
    )
    seeds: int = setting(3, "repetitions, each with first weights and an order of images of its own", ge=1, le=100)
    controls: str = setting(
        "reinit,random",
        "what tickets are held against, under the same seeds: reinit (the mask on other first weights), shuffled (the"
        " mask's places drawn anew within layers), random (a random mask of equal density), finetune and lr-rewind"
        " (pruned and trained on from the last weights), small (a narrower dense network with as many parameters);"
        " several with commas",
    )

    stacked: Literal["auto", "yes", "no"] = setting(
        "auto",
        "whether the networks of a round, of all seeds and arms, are trained as one: auto, where that is faster as"
        " timed in two seconds; figures are the same but for rounding",
    )

    stability: str | None = setting(
        None,
        "instability analysis of the dense network at these steps, with commas: two trainings from each step's weights"
        " in other orders of the images, and how far the score falls between their ends",
    )

    transfer: str = setting(
        "",
        "where the first weights and masks are tried beside those found there and random ones: other data sets with"
        " inputs of this network, or an optimizer, sgd or adamw; several with commas",
    )

    forms: str = setting(
        "",
        "what the tickets are turned into for hardware, trained again and timed: channels (a dense network of as many"
        " parameters), N:M such as 2:4, csr (linear layers as compressed sparse rows); several with commas",
    )

    form_rounds: str = setting(
        "delivered",
        "rounds whose tickets are trained in the forms of --forms: delivered (the one that is handed over), all, or"
        " numbers with commas; all rounds are timed in any case",
    )

    @field_validator("stability", mode="before")
    @classmethod
    def _steps_are_text(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return ",".join(map(str, value))
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("stability")
    @classmethod
    def _steps_can_be_read(cls, value: str | None) -> str | None:
        parts = [part.strip() for part in (value or "").split(",")]
        if value is not None and not all(part.isdecimal() and len(part) < 10 for part in parts):
            raise ValueError("write steps with commas between them, such as 0,100,500")
        return value if value is None else ",".join(map(str, sorted({int(part) for part in parts})))

    @field_validator("layer_rate", mode="before")
    @classmethod
    def _one_is_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("layer_rate")
    @classmethod
    def _rates_can_be_read(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            _rate_in(text)
        return value

    @field_validator("controls", "transfer", "forms", mode="before")
    @classmethod
    def _names_are_text(cls, value: Any) -> Any:
        return joined(value)

    @field_validator("form_rounds", mode="before")
    @classmethod
    def _rounds_are_text(cls, value: Any) -> Any:
        return ",".join(map(str, value)) if isinstance(value, list | tuple | range) else str(value)

    @field_validator("form_rounds")
    @classmethod
    def _rounds_can_be_read(cls, value: str) -> str:
        parts = [part.strip() for part in value.split(",")]
        if value in _ROUNDS or all(part.isdecimal() and 0 < int(part) <= 200 for part in parts):
            return value
        raise ValueError(f"write {', '.join(_ROUNDS)}, or rounds from 1 with commas between them, such as 3,7,10")

    @field_validator("controls")
    @classmethod
    def _controls_are_known(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",") if name.strip()]
        wrong = next((name for name in names if name not in CONTROLS), None)
        if wrong is not None:
            raise ValueError(f"there is no control {wrong!r}; there are {', '.join(CONTROLS)}")
        return ",".join(dict.fromkeys(names))

    @field_validator("forms")
    @classmethod
    def _forms_are_known(cls, value: str) -> str:
        names = [name.strip().removeprefix("nm=") for name in value.split(",") if name.strip()]
        for name in names:
            if name not in (CHANNELS_FORM, CSR_FORM):
                n_of_m(name)
        return ",".join(dict.fromkeys(names))

    @model_validator(mode="after")
    def _layers_have_rates_of_their_own(self) -> Self:
        if self.layer_rate and self.per == "global":
            raise ValueError("layer_rate: rates of single layers need per = layer; all layers together have one rate")
        return self

    @model_validator(mode="after")
    def _rounds_are_there(self) -> Self:
        late = [number for number in self.form_rounds_of(1) if number > self.rounds]
        if late:
            raise ValueError(f"form_rounds: there is no round {late[0]} of {self.rounds}")
        return self

    def form_rounds_of(self, delivered: int) -> tuple[int, ...]:
        """Rounds whose tickets are trained in other forms, the one that is handed over first.

        Args:
            delivered: The round that is handed over.
        """
        if self.form_rounds == _DELIVERED:
            return (delivered,)
        others = range(1, self.rounds + 1) if self.form_rounds == _ALL else map(int, self.form_rounds.split(","))
        return tuple(dict.fromkeys((delivered, *others)))

    @property
    def control_names(self) -> tuple[str, ...]:
        """The controls, in the order in which they were named."""
        return tuple(self.controls.split(",")) if self.controls else ()

    @property
    def form_names(self) -> tuple[str, ...]:
        """What tickets are turned into, each once."""
        return tuple(self.forms.split(",")) if self.forms else ()

    @property
    def transfers(self) -> tuple[str, ...]:
        """Data sets and optimisers that tickets are carried over to, each once."""
        return tuple(dict.fromkeys(part.strip() for part in self.transfer.split(",") if part.strip()))

    @property
    def stability_steps(self) -> tuple[int, ...]:
        """Steps of the instability analysis, ascending."""
        return tuple(map(int, self.stability.split(","))) if self.stability else ()

    @property
    def layer_rates(self) -> tuple[tuple[str, float], ...]:
        """Pattern of layers and their rate, in the order in which they were given."""
        return tuple(_rate_in(text) for text in self.layer_rate)


def _rate_in(text: str) -> tuple[str, float]:
    """The pattern and the rate of one `layer_rate`.

    Raises:
        ValueError: If it is none.

    >>> _rate_in("fc3=0.1")
    ('fc3', 0.1)
    """
    pattern, sign, number = text.rpartition("=")
    try:
        rate = float(number)
    except ValueError:
        rate = 0.0
    if not sign or not pattern or not 0 < rate < 1:
        raise ValueError("write PATTERN=RATE with a rate above 0 and below 1, such as fc3=0.1")
    return pattern, rate
