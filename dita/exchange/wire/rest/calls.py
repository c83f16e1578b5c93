"""A REST call before it is understood, and what answers it.

The words that server, routes and control share; knows none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from dita.exchange.wire.answers import Answer
from dita.exchange.wire.rest.parameters import Parameters

if TYPE_CHECKING:
    from dita.exchange.wire.session import Session


class Call(NamedTuple):
    """One request as it was sent."""

    method: str
    path: str
    raw_path: str  # with the query, as signed
    body: bytes
    headers: Mapping[str, str]
    address: str

    @property
    def subject(self) -> str:
        """What fault rules name it by."""
        return f"{self.method} {self.path}"


class Route(NamedTuple):
    """What answers an endpoint, and what it demands: nothing, the key, or key and signature."""

    handle: Callable[[Session, Parameters, int], Answer]
    signed: bool = True
    keyed: bool = True


Routes = dict[tuple[str, str], Route]


def public(handle: Callable[[Session, Parameters, int], Answer]) -> Route:
    """Open to everybody."""
    return Route(handle, signed=False, keyed=False)
