"""Alarms: what is wrong now, since when, and in which words; told when one begins and when it ends.

Whoever has to hear of them (a log, a pager, status) adds a listener or reads ``active``.  Alarms
decide nothing and are no part of the kernel's state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from dita.contracts import Record

#: Alarms of one name are one; so many names at most, so that nothing hostile can fill the memory.
NAMES_MAX: Final = 256


class Alarm(Record, frozen=True, kw_only=True):
    """One thing that is wrong, since then in kernel time; ``ended``: it is well again."""

    name: str
    text: str
    since_ms: int
    ended: bool = False


class Alarms:
    """The alarms of one runtime, by name."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._active: dict[str, Alarm] = {}
        #: Called with each alarm as it begins and as it ends; one that raises is dropped.
        self.listeners: list[Callable[[Alarm], None]] = []

    @property
    def active(self) -> tuple[Alarm, ...]:
        """What is wrong now, the oldest first."""
        return tuple(self._active.values())

    def begin(self, name: str, text: str) -> None:
        """It is wrong.  Told once; while it lasts only its text is kept up to date."""
        known = self._active.get(name)
        if known is not None:
            self._active[name] = replace(known, text=text)
        elif len(self._active) < NAMES_MAX:
            alarm = self._active[name] = Alarm(name=name, text=text, since_ms=self._now_ms())
            self._tell(alarm)

    def end(self, name: str) -> None:
        """It is well again; nothing happens when it was."""
        known = self._active.pop(name, None)
        if known is not None:
            self._tell(replace(known, ended=True))

    def once(self, name: str, text: str) -> None:
        """Something happened that does not last: told, and not kept."""
        self._tell(Alarm(name=name, text=text, since_ms=self._now_ms()))

    def _tell(self, alarm: Alarm) -> None:
        for listener, error in call_each(self.listeners, alarm):
            self.once("listener dropped", f"{listener!r}: {type(error).__name__}: {error}")


def call_each(
    listeners: list[Callable[..., None]], *what: object
) -> list[tuple[Callable[..., None], Exception]]:
    """Call each listener; those that raise leave the list and are returned with their errors."""
    broken: list[tuple[Callable[..., Any], Exception]] = []
    for listener in tuple(listeners):
        try:
            listener(*what)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop trading
            listeners.remove(listener)
            broken.append((listener, error))
    return broken
