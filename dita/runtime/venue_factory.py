"""From settings to a venue: BingX or what speaks its wire, the mock, or a mock elsewhere.

The node and the emergency exit are its callers.  Nothing is connected here.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Final

from dita.errors import SettingsError
from dita.files import read_limited
from dita.runtime.confinement import keep_no_core
from dita.runtime.world import World
from dita.settings import Settings, VenueEnvironment, VenueKind, fallback_url
from dita.venues import Venue

if TYPE_CHECKING:
    from dita.venues.bingx.venue import BingxVenue
    from dita.venues.mock import MockVenue

#: Of a price tape.
TAPE_BYTES_MAX: Final = 64 * 2**20
#: Twenty minutes of tape in half a minute.
DEMO_SPEED: Final = 40
#: How many of its orders the embedded mock remembers at least.
MOCK_ORDERS: Final = 1_000


def venue_of(settings: Settings, world: World, *, demo: bool = False) -> Venue:
    """The venue that the settings name; a demo plays its tape faster than it was recorded."""
    if settings.venue.kind is VenueKind.REMOTE:
        from dita.venues.remote import RemoteVenue

        return RemoteVenue(settings.venue.mock_socket)
    if settings.venue.kind is VenueKind.BINGX:
        return bingx_venue(settings, world)
    return mock_venue(settings, world, faster=DEMO_SPEED if demo else 1)


def bingx_venue(settings: Settings, world: World) -> BingxVenue:
    """BingX, or a local exchange that speaks its protocol; keys are read at connect."""
    from dita.venues.bingx.rest.rate_limits import Budget
    from dita.venues.bingx.venue import BingxConfig, BingxVenue

    keep_no_core()
    venue = settings.venue
    if venue.api_key is None or venue.api_secret is None:
        raise SettingsError("keys missing", expected="venue.api_key and venue.api_secret")
    config = BingxConfig(
        rest_url=venue.rest_url,
        stream_url=venue.stream_url,
        fallback_url=fallback_url(settings),
        receive_window_ms=venue.recv_window_ms,
        hedge=settings.kernel.hedge,
        trust_store=venue.trust_store,
        assets=("VST", "USDT") if venue.environment is VenueEnvironment.VST else ("USDT",),
    )
    budget = Budget(world.clock)
    budget.take_over()
    return BingxVenue(
        config,
        world.clock,
        api_key=venue.api_key.reveal,
        api_secret=venue.api_secret.reveal,
        draw=world.draw,
        budget=budget,
        transport=world.transport() if world.transport else None,
        connect_to=world.connect_to,
    )


def mock_venue(settings: Settings, world: World, faster: int) -> MockVenue:
    """The embedded mock on its tape."""
    from dita.venues.mock import MockVenue, fet_config, read_tape

    tape = [(row.time_ms // faster, *row[1:]) for row in read_tape(tape_of(settings))]
    config = fet_config(seed=settings.venue.mock_seed, tape=tuple(tape), kept=MOCK_ORDERS)
    return MockVenue(config, world.clock, pulse_ms=min(50, settings.runtime.tick_ms))


def tape_of(settings: Settings) -> str:
    """The text of the price tape; SettingsError when it is not there."""
    name = settings.venue.mock_tape
    try:
        if "/" in name:
            return read_limited(name, TAPE_BYTES_MAX).decode()
        return (resources.files("dita.configs") / "tapes" / f"{name}.csv").read_text()
    except (OSError, ValueError) as bad:
        raise SettingsError(
            "price tape cannot be read",
            expected="a packaged tape, or a path with a slash to a text file",
            found=f"{name}: {getattr(bad, 'strerror', None) or bad}",
        ) from bad
