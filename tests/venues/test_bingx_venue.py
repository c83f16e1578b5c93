"""BingX as a venue: connect and its checks, rules kept fresh, doubts settled, and how it is made.

REST is a script behind httpx's transport; the stream is a stand-in that a test feeds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import httpx
import pytest
from support.scripted_rest import (
    CONTRACT,
    FET,
    KEY,
    SECRET,
    START_MS,
    Exchange,
    bad,
    good,
    order_of,
)

from dita.clock import ManualClock
from dita.contracts import KernelEventKind, OrderSide, VenueEvent
from dita.errors import SettingsError, VenueError
from dita.runtime.venue_factory import venue_of
from dita.runtime.world import World
from dita.settings import Settings, fallback_url, load
from dita.venues import NotSent, OrderRef, QueryFailed, Venue
from dita.venues.bingx import venue as module
from dita.venues.bingx.rest.rate_limits import Budget
from dita.venues.bingx.stream.parse import ConfigChange, ParsedFrame
from dita.venues.bingx.venue import CONTRACTS_OLD_MS, BingxConfig, BingxVenue

Kind = KernelEventKind
USDT = [{"asset": "USDT", "balance": "100", "availableMargin": "90"}]


def run(work: Coroutine[Any, Any, object]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


class FakeStream:
    """What a test puts in comes out; None is a gap."""

    opened: int
    failure: VenueError | None = None

    def __init__(
        self, url: str, keys: Any, events: Any, clock: Any, draw: Any, **more: Any
    ) -> None:
        self.url, self.keys, self.reads = url, keys, events
        self.tls = more["tls"]
        self.queue: asyncio.Queue[ParsedFrame | None] = asyncio.Queue()
        self.is_open = False

    async def open(self) -> None:
        if FakeStream.failure is not None:
            raise FakeStream.failure
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False
        self.queue.put_nowait(None)

    def put(self, told: ParsedFrame) -> None:
        self.queue.put_nowait(told)

    async def told(self) -> AsyncIterator[ParsedFrame]:
        while (told := await self.queue.get()) is not None:
            yield told


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UserStream", FakeStream)
    monkeypatch.setattr(FakeStream, "failure", None)


class Stand:
    """A venue on a scripted exchange."""

    def __init__(self, **config: Any) -> None:
        self.exchange = Exchange()
        self.exchange.routes["GET v3/user/balance"] = good(USDT)
        self.exchange.routes["GET v2/user/positions"] = good([])
        self.exchange.routes["POST v2/trade/order"] = good({"orderId": "5"})
        self.venue = BingxVenue(
            BingxConfig(
                rest_url="https://exchange.test", stream_url="wss://exchange.test", **config
            ),
            self.exchange.clock,
            api_key=lambda: KEY,
            api_secret=lambda: SECRET,
            draw=lambda below: 0,
            budget=Budget(self.exchange.clock, self.sleep),
            transport=self.exchange.transport,
        )

    async def sleep(self, seconds: float) -> None:
        self.exchange.clock.advance_ms(round(seconds * 1_000))

    @property
    def stream(self) -> FakeStream:
        stream: Any = self.venue._stream
        assert isinstance(stream, FakeStream)
        return stream


# -- connect ---------------------------------------------------------------------------------------


def test_it_is_a_venue() -> None:
    venue: Venue = Stand().venue
    assert venue.receive_window_ms == 5_000


def test_connect_checks_what_it_needs_and_close_lets_go() -> None:
    stand = Stand(assets=("VST", "USDT"))

    async def test() -> None:
        await stand.venue.connect()
        assert stand.stream.is_open
        assert stand.stream.reads._asset == "USDT"
        assert await stand.venue.positions() == ()
        first = stand.stream
        await stand.venue.close()
        await stand.venue.close()
        assert not first.is_open
        with pytest.raises(QueryFailed):
            await stand.venue.positions()
        with pytest.raises(NotSent):
            await stand.venue.submit(order_of(reduce_only=True))
        with pytest.raises(NotSent):
            await stand.venue.cancel(OrderRef(asset=FET, client_order_id="one"))
        with pytest.raises(VenueError):
            stand.venue.events()
        await stand.venue.connect()
        assert await stand.venue.positions() == ()
        await stand.venue.close()

    run(test())
    paths = {request.url.path for request in stand.exchange.requests}
    assert "/openApi/swap/v1/positionSide/dual" in paths


@pytest.mark.parametrize(("hedge", "told"), [(False, "true"), (True, "false")])
def test_another_position_mode_is_a_wrong_setting(hedge: bool, told: str) -> None:
    stand = Stand(hedge=hedge)
    stand.exchange.routes["GET v1/positionSide/dual"] = good({"dualSidePosition": told})

    async def test() -> None:
        with pytest.raises(SettingsError, match=r"kernel\.hedge") as caught:
            await stand.venue.connect()
        assert int(caught.value.exit_code) == 78
        assert stand.venue.client.closed

    run(test())


@pytest.mark.parametrize(
    ("route", "reply"),
    [
        ("GET v2/server/time", httpx.ConnectError("down")),
        ("GET v2/server/time", good({"serverTime": 0})),
        ("GET v2/quote/contracts", good([])),
        ("GET v2/quote/contracts", bad(100500)),
        ("GET v1/positionSide/dual", good({})),
        ("GET v1/positionSide/dual", bad(100413, "Incorrect apiKey")),
        ("GET v3/user/balance", good([])),
        ("GET v3/user/balance", httpx.Response(502)),
    ],
)
def test_connect_fails_as_a_whole(route: str, reply: Any) -> None:
    stand = Stand()
    stand.exchange.routes[route] = reply

    async def test() -> None:
        with pytest.raises(VenueError):
            await stand.venue.connect()
        assert stand.venue.client.closed

    run(test())


def test_connect_fails_without_a_stream_or_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Stand()
    monkeypatch.setattr(FakeStream, "failure", VenueError("no stream"))

    def missing() -> str:
        raise SettingsError("no key")

    async def test() -> None:
        with pytest.raises(VenueError, match="no stream"):
            await stand.venue.connect()
        assert stand.venue.client.closed
        stand.venue.client.access = stand.venue.client.access._replace(api_key=missing)
        with pytest.raises(SettingsError):
            await stand.venue.connect()

    run(test())


# -- kept fresh ------------------------------------------------------------------------------------


def test_contracts_are_read_again_when_old_or_when_a_symbol_is_new() -> None:
    stand = Stand()

    def reads() -> int:
        return len(stand.exchange.sent("GET v2/quote/contracts"))

    async def test() -> None:
        await stand.venue.connect()
        rules = await stand.venue.contract("fetusdt")
        assert rules == await stand.venue.contract(FET)
        assert reads() == 1
        listed = [CONTRACT, {**CONTRACT, "symbol": "NEW-USDT"}]
        stand.exchange.routes["GET v2/quote/contracts"] = good(listed)
        await stand.venue.contract("NEW-USDT")
        assert reads() == 2
        with pytest.raises(VenueError, match="unknown symbol"):
            await stand.venue.contract("NOPE-USDT")
        stand.exchange.clock.advance_ms(CONTRACTS_OLD_MS + 1)
        stand.exchange.routes["GET v2/quote/contracts"] = bad(100500)
        with pytest.raises(QueryFailed):
            await stand.venue.contract(FET)
        await stand.venue.close()

    run(test())


def test_rest_and_stream_trust_the_same_store_of_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def trusting(store: str) -> str:
        asked.append(store)
        return f"context of {store}"

    monkeypatch.setattr("dita.venues.bingx.rest.client.trusting", trusting)
    stand = Stand(trust_store="/etc/pink/trusted.pem")

    async def test() -> None:
        await stand.venue.connect()
        assert (asked, stand.stream.tls) == (
            ["/etc/pink/trusted.pem"],
            "context of /etc/pink/trusted.pem",
        )
        await stand.venue.close()

    run(test())


def test_time_and_contracts_are_refreshed_and_failures_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TIME_EVERY_S", 0.001)
    monkeypatch.setattr(module, "CONTRACTS_EVERY_S", 0.001)
    stand = Stand()

    async def until(reached: Any) -> None:
        while not reached():
            await asyncio.sleep(0.001)

    async def test() -> None:
        await stand.venue.connect()
        await until(lambda: len(stand.exchange.sent("GET v2/server/time")) > 6)
        await until(lambda: len(stand.exchange.sent("GET v2/quote/contracts")) > 2)
        assert stand.venue.refresh_failures_total == 0
        stand.exchange.routes["GET v2/server/time"] = httpx.ConnectError("down")
        await until(lambda: stand.venue.refresh_failures_total > 2)
        (event,) = await stand.venue.submit(order_of(side=OrderSide.SELL, reduce_only=True))
        assert event.kind is Kind.ORDER_ACK
        await stand.venue.close()

    run(test())


def test_the_server_s_time_is_asked_for_each_time() -> None:
    stand = Stand()

    async def test() -> None:
        await stand.venue.connect()
        stand.exchange.ahead_ms = 12_345
        assert await stand.venue.server_time_ms() == START_MS + 12_345
        stand.exchange.routes["GET v2/server/time"] = httpx.ReadTimeout("slow")
        with pytest.raises(QueryFailed):
            await stand.venue.server_time_ms()
        await stand.venue.close()

    run(test())


# -- events ----------------------------------------------------------------------------------------


def an_event(number: int) -> VenueEvent:
    return VenueEvent(kind=Kind.ORDER_ACK, received_ms=1, venue_order_id=str(number))


async def heard(venue: BingxVenue) -> list[VenueEvent]:
    return [event async for event in venue.events()]


def test_events_end_at_a_gap_and_go_on_behind_it() -> None:
    stand = Stand()

    async def test() -> None:
        await stand.venue.connect()
        for told in (
            ParsedFrame((an_event(1), an_event(2))),
            None,
            ParsedFrame((an_event(3),)),
            None,
        ):
            stand.stream.queue.put_nowait(told)
        assert [e.venue_order_id for e in await heard(stand.venue)] == ["1", "2"]
        assert [e.venue_order_id for e in await heard(stand.venue)] == ["3"]
        await stand.venue.close()

    run(test())


def test_leverage_that_the_stream_tells_and_a_gap_void_what_was_verified() -> None:
    stand = Stand()

    async def submit() -> int:
        (event,) = await stand.venue.submit(order_of())
        assert event.kind is Kind.ORDER_ACK
        return len(stand.exchange.sent("GET v2/trade/leverage"))

    async def tell(told: ParsedFrame) -> None:
        stand.stream.queue.put_nowait(told)
        events = stand.venue.events()
        stand.stream.queue.put_nowait(ParsedFrame((an_event(1),)))
        await anext(events)
        await events.aclose()  # type: ignore[attr-defined]

    async def test() -> None:
        await stand.venue.connect()
        assert await submit() == await submit() == 1
        await tell(ParsedFrame(config=ConfigChange(FET, 1, 1, "isolated")))
        assert await submit() == 1
        await tell(ParsedFrame(config=ConfigChange(FET, 2, 2, "isolated")))
        assert await submit() == 2
        stand.stream.queue.put_nowait(None)
        await heard(stand.venue)
        assert await submit() == 3
        await stand.venue.close()

    run(test())


def test_a_doubtful_position_is_asked_for_until_it_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "DOUBT_PAUSE_S", 0.001)
    stand = Stand()
    position = {
        "symbol": FET,
        "positionAmt": "60",
        "positionSide": "LONG",
        "avgPrice": "0.5",
        "leverage": 1,
        "updateTime": START_MS,
    }
    stand.exchange.routes["GET v2/user/positions"] = [bad(100500), good([position])]

    async def test() -> None:
        await stand.venue.connect()
        stand.stream.put(ParsedFrame((an_event(1),), doubtful=(FET, "TRX-USDT")))
        events = stand.venue.events()
        assert (await anext(events)).venue_order_id == "1", "no frame waits for the question"
        first, second = await anext(events), await anext(events)
        assert (first.kind, first.asset, first.side, first.quantity_e8) == (
            Kind.POSITION,
            FET,
            OrderSide.BUY,
            60 * 10**8,
        )
        assert (second.kind, second.asset, second.quantity_e8) == (Kind.POSITION, "TRX-USDT", 0)
        assert first.exchange_ms == START_MS
        await stand.venue.close()

    run(test())


# -- how it is made --------------------------------------------------------------------------------

BINGX = {
    "venue.kind": "bingx",
    "venue.api_key": "env:KEY",
    "venue.api_secret": "env:SECRET",
    "journal.directory": "/var/lib/pink/test",
}


def settings_of(**changes: Any) -> Settings:
    overrides = {**BINGX, "venue.environment": "vst", **changes}
    return load(None, {"KEY": KEY, "SECRET": SECRET}, overrides)


def test_the_factory_makes_it_from_the_settings() -> None:
    settings = settings_of(**{"venue.recv_window_ms": 4_000, "kernel.hedge": True})
    venue = venue_of(settings, World.of_machine(ManualClock(START_MS)))
    assert isinstance(venue, BingxVenue)
    assert venue.config == BingxConfig(
        rest_url="https://open-api-vst.bingx.com",
        stream_url="wss://vst-open-api-ws.bingx.com/swap-market",
        fallback_url="https://open-api-vst.bingx.pro",
        receive_window_ms=4_000,
        hedge=True,
        assets=("VST", "USDT"),
    )
    access = venue.client.access
    assert (access.api_key(), access.api_secret()) == (KEY, SECRET)
    assert KEY not in repr(venue.client) and SECRET not in repr(venue.config)


def test_real_money_is_usdt_and_has_its_own_hosts() -> None:
    live = settings_of(**{"venue.environment": "live", "venue.allow_live": True})
    venue = venue_of(live, World.of_machine(ManualClock(START_MS)))
    assert isinstance(venue, BingxVenue)
    assert venue.config.assets == ("USDT",)
    assert venue.config.fallback_url == "https://open-api.bingx.pro"


def test_a_local_exchange_has_no_other_host() -> None:
    here = {"venue.rest_url": "http://127.0.0.1:8080", "venue.stream_url": "ws://127.0.0.1:8080/s"}
    assert fallback_url(settings_of(**here)) == ""
    other = settings_of(**{"venue.rest_url": "https://open-api-vst.bingx.pro"})
    assert fallback_url(other) == "https://open-api-vst.bingx.com"
