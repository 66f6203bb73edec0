"""How many processes score the candidates of a search, and where they meet."""

from __future__ import annotations

from typing import Self

from pydantic import field_serializer, field_validator, model_validator

from autoprune.run.settings.base import Settings, setting, valid
from autoprune.storage.urls import StorageUrl

__all__ = ["SharedSettings"]

_BATCH = 8  # episodes of a round where there are workers; the same for any number of them


class SharedSettings(Settings):
    """Processes and machines that score candidates at the same time."""

    panel = "Processes and machines"

    batch: int | None = setting(
        None,
        "episodes of a round, whose policies are chosen together and can be scored at the same time; default 1, with"
        " --workers, --storage or --ray 8. The result depends on it, not on the workers",
        ge=1,
        le=10**6,
    )
    workers: int = setting(
        1,
        "processes of one thread each in which the candidates of a round are scored; of lottery, processes in which its"
        " seeds are trained",
        ge=1,
        le=1024,
    )
    storage: str | None = setting(
        None,
        "where workers of several machines meet: sqlite:///FILE, postgresql+psycopg2://USER@HOST/DATABASE (the password"
        " from PGPASSWORD) or journal:FILE; join with --worker",
    )
    study: str | None = setting(None, "name of the study in the storage; default the run's name")
    lease: float = setting(60.0, "seconds after which a silent worker's candidate is given to another", ge=1, le=86_400)
    ray: str | None = setting(
        None,
        "score candidates in actors of a Ray cluster: its address, auto for the one that this machine belongs to, local"
        " (or nothing) to start one here; as many as --workers, or as it has processors",
    )

    @field_validator("storage")
    @classmethod
    def _storage_can_be_read(cls, value: str | None) -> str | None:
        if value is not None:
            valid(lambda: StorageUrl.parse(value))
        return value

    @field_validator("study", "ray")
    @classmethod
    def _is_named(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("give a name, or leave it out")
        return value

    @field_serializer("storage", when_used="json")
    def _without_a_password(self, value: str | None) -> str | None:
        """What is written to files."""
        return None if value is None else StorageUrl.parse(value).without_password

    @model_validator(mode="after")
    def _a_round_keeps_all_workers_busy(self) -> Self:
        if self.workers > self.episodes_at_once:
            raise ValueError(f"workers ({self.workers}) must not exceed batch ({self.episodes_at_once})")
        return self

    @model_validator(mode="after")
    def _a_study_lies_somewhere(self) -> Self:
        if self.study is not None and self.storage is None:
            raise ValueError("study: a study lies in a storage; give storage (--storage)")
        return self

    @property
    def episodes_at_once(self) -> int:
        """Episodes of a round."""
        alone = self.workers == 1 and self.storage is None and self.ray is None
        return self.batch or (1 if alone else _BATCH)
