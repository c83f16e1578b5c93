"""A dict that nobody changes: what outcomes and snapshots hold of several named values.

Readers get the same object as the next reader, and perhaps as the engine, so none of them may
write into it.  Unlike ``MappingProxyType`` it is a dict, which encoders, ``pickle`` and ``copy``
understand.  It knows nothing of what it holds.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class FrozenDict(dict[K, V]):
    """Filled when it is made and never again; writing to it is a TypeError."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is read only: change a copy, dict(...)")

    __setitem__ = _refuse
    __delitem__ = _refuse
    __ior__ = _refuse
    clear = _refuse
    pop = _refuse
    popitem = _refuse
    setdefault = _refuse
    update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        """By its items: the ways of a dict would write into an empty one."""
        return type(self), (dict(self),)
