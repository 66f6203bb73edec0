"""Targets of users' own: their methods run behind the boundary around users' code, and what they return is checked."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from autoprune.errors import TargetError
from autoprune.foundations.user_code import UserCode, is_foreign, path_of, wrong_form
from autoprune.hardware.contract.protocol import Measurement

__all__ = ["guard_methods", "target_code"]


def target_code(kind: type) -> UserCode:
    """Around a call of a user's target."""
    return UserCode(_named(kind), TargetError)


def guard_methods(kind: type) -> None:
    """Put the methods that a user's class has itself behind the boundary; a class of this package is left alone."""
    if not is_foreign(kind):
        return
    for name in {*_ANSWERS, *_ACTIONS} & vars(kind).keys():
        if inspect.isfunction(vars(kind)[name]):
            setattr(kind, name, _guarded(vars(kind)[name], _ANSWERS.get(name)))


Check = Callable[[Any, tuple[Any, ...]], bool]


def _guarded(method: Callable[..., Any], answer: tuple[str, Check] | None) -> Callable[..., Any]:
    @functools.wraps(method)
    def guarded(self: Any, *arguments: Any, **named: Any) -> Any:
        what = f"{_named(type(self))}, in {method.__name__}(),"
        with _naming(what), UserCode(what, TargetError):
            returned = method(self, *arguments, **named)
        if answer is not None and not answer[1](returned, arguments or tuple(named.values())):
            raise wrong_form(what, returned, answer[0], TargetError)
        return _GuardedSession(returned, what) if method.__name__ == "session" else returned

    return guarded


class _naming:
    """Names the target in an error that was made without knowing whose it is, such as a latency of 0 ms."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if type(error) is TargetError and "target '" not in str(error):
            raise TargetError(f"{self._what.removesuffix(',')}: {error}") from error


class _GuardedSession:
    """A user's session, whose timer is behind the boundary."""

    def __init__(self, session: AbstractContextManager[Any], what: str) -> None:
        self._session, self._what = session, what

    def __enter__(self) -> _GuardedTimer:
        with UserCode(self._what, TargetError):
            return _GuardedTimer(self._session.__enter__(), self._what)

    def __exit__(self, *raised: Any) -> bool | None:
        with UserCode(self._what, TargetError):
            return self._session.__exit__(*raised)


class _GuardedTimer:
    """A user's timer; everything but `time` is its own."""

    def __init__(self, timer: Any, what: str) -> None:
        self._timer, self._what = timer, what

    def time(self, payloads: Any, *more: Any, **named: Any) -> Any:
        with _naming(self._what), UserCode(self._what, TargetError):
            returned = self._timer.time(payloads, *more, **named)
        if not _is_a_measurement_each(returned, (payloads,)):
            raise wrong_form(self._what, returned, _EACH, TargetError)
        return returned

    def __getattr__(self, name: str) -> Any:
        return getattr(self._timer, name)


def _named(kind: Any) -> str:
    return f"target {kind.name!r} ({path_of(kind)})"


def _is_a_measurement_each(returned: Any, arguments: tuple[Any, ...]) -> bool:
    return (
        isinstance(returned, list | tuple)
        and all(isinstance(each, Measurement) for each in returned)
        and len(returned) == len(arguments[0])
    )


def _are_names(returned: Any, _: tuple[Any, ...]) -> bool:
    return isinstance(returned, Mapping) and all(isinstance(each, str) for pair in returned.items() for each in pair)


_EACH = "one Measurement a network, in order"

_ANSWERS: dict[str, tuple[str, Check]] = {
    "available": ("None, or what is missing", lambda returned, _: returned is None or isinstance(returned, str)),
    "versions": ("names and versions, all of them texts", _are_names),
    "fingerprint": ("names and values, all of them texts", _are_names),
    "pack": ("the network as bytes", lambda returned, _: isinstance(returned, bytes)),
    "pack_layer": (
        "the layer as bytes, or None",
        lambda returned, _: returned is None or isinstance(returned, bytes),
    ),
    "copies": ("a number from 1", lambda returned, _: type(returned) is int and returned >= 1),
    "time": (_EACH, _is_a_measurement_each),
    "session": ("a context manager", lambda returned, _: hasattr(returned, "__enter__")),
}
"""Methods that are asked in this process: what they must return, and whether they did."""

_ACTIONS = ("sensors", "settings", "environment", "options")
