"""A mock venue in a process of its own, so that whoever trades on it can be killed.

``python -m dita.venues.remote --socket PATH --config FILE`` serves one MockVenue on a unix socket:
lines of JSON, one connection for calls and one for each stream, and one ready line on stdout.
``RemoteVenue`` is the venue protocol on the other side.
"""

from dita.venues.remote.client import RemoteVenue
from dita.venues.remote.server import ServeConfig, Server

__all__ = ["RemoteVenue", "ServeConfig", "Server"]
