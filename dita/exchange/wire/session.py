"""One exchange in use: the core with its clock, prices, limits, faults, keys and sockets.

The meeting point of the wire. Moves time, turns the core's events into frames, and does what
faults say happens by itself. Knows no HTTP.
"""

from __future__ import annotations

from typing import Final

from dita.clock import Clock
from dita.exchange.model.acts import Acts
from dita.exchange.model.exchange import Exchange
from dita.exchange.model.prices import Prices
from dita.exchange.model.records import (
    ConfigUpdate,
    MarketTrade,
    Order,
    PositionSide,
    Refused,
    Side,
)
from dita.exchange.wire.answers import encode, refuse
from dita.exchange.wire.dialect import WireFile
from dita.exchange.wire.faults import ACTS, LAGS, FaultKind, FaultPlan, FaultRule
from dita.exchange.wire.limits import RateLimiter
from dita.exchange.wire.shapes import events as event_shapes
from dita.exchange.wire.shapes.closed_positions import ClosedPositions
from dita.exchange.wire.signing import Credentials
from dita.exchange.wire.stream.delivery import Delivery
from dita.exchange.wire.stream.listen_keys import ListenKeys
from dita.exchange.wire.stream.sockets import Hub, Socket, gzipped
from dita.exchange.wire.stream.topics import Topics
from dita.units import parse_quantity

SNAPSHOT_MS: Final = 5_000
FOR_EVER_MS: Final = 10**15
UNKNOWN_ORDER: Final = 109421
BEING_PROCESSED: Final = 109423

# Code numbers before 2025-10-16 for those since (dossier §1.4).
_OLD_CODES: Final = {
    109400: 80014,
    109403: 80020,
    109420: 80017,
    109421: 80016,
    109422: 80018,
    109423: 80019,
    109429: 100410,
    109500: 80012,
}


class Session:
    """Everything that a running exchange consists of, but its port."""

    def __init__(
        self,
        exchange: Exchange,
        clock: Clock,
        credentials: Credentials,
        *,
        seed: int = 1,
        wire: WireFile | None = None,
        prices: Prices | None = None,
    ) -> None:
        wire = wire or WireFile()
        self.exchange = exchange
        self.acts = Acts(exchange)
        self.credentials = credentials
        self.switches = wire.wire
        self.limiter = RateLimiter(wire.limits)
        self.plan = FaultPlan(wire.faults, seed, clock.now_ms())
        self.keys = ListenKeys(seed)
        self.hub = Hub(self.switches.split_users)
        self.topics = Topics(exchange, self.hub)
        self.closed = ClosedPositions()
        self.refused_acts: list[str] = []
        self._clock = clock
        self._prices = prices
        self._delivery = Delivery(self.plan, self._push_user)
        self._lags: dict[int, tuple[int, int]] = {}
        self._next_snapshot_ms = clock.now_ms() + SNAPSHOT_MS

    def now_ms(self) -> int:
        """The exchange's clock."""
        return self._clock.now_ms()

    def code_of(self, code: int) -> int:
        """A code of the core in the generation that is switched on."""
        return _OLD_CODES.get(code, code) if self.switches.errors == "old" else code

    # -- TIME -----------------------------------------------------------------------------------

    def advance(self, now_ms: int) -> None:
        """Move prices and time up to now."""
        if self._prices is not None:
            for step in self._prices.until(now_ms):
                self.exchange.set_price(step.symbol, step.price_e10, step.time_ms)
        self.exchange.advance(now_ms)

    def pulse(self) -> None:
        """Do everything whose time has come."""
        now_ms = self.now_ms()
        self.advance(now_ms)
        for rule in self.plan.due(now_ms):
            self.act(rule)
        self.push_events()
        self._delivery.pulse(now_ms)
        for key in self.keys.lapsed(now_ms):
            self.hub.push_key(encode(event_shapes.key_expired(key, now_ms)), key, now_ms)
        if now_ms >= self._next_snapshot_ms:
            self._next_snapshot_ms = now_ms + SNAPSHOT_MS
            for socket in self.hub.users(self._alive):
                self._send_snapshot(socket, now_ms)
        self.topics.pulse(now_ms)
        self.hub.pulse(now_ms)

    # -- EVENTS ---------------------------------------------------------------------------------

    def push_events(self) -> None:
        """Send what the core has done since the last time."""
        now_ms = self.now_ms()
        one_way = not self.exchange.hedge
        events = self.exchange.take_events()
        for event in events:
            self.closed.take(event, one_way=one_way)
        if not (self.hub.sockets or self.plan.active):
            events = []  # nobody would get them, and no fault counts them
        for event in events:
            frame = event_shapes.frame_of(event, self.switches, now_ms, one_way=one_way)
            self._delivery.push(frame, now_ms)
        for happened in self.exchange.take_market():
            if isinstance(happened, MarketTrade):
                self.topics.traded(happened, now_ms)

    def push_raw(self, payload: bytes) -> None:
        """Send bytes as a user event, whatever they are."""
        self._push_user(payload, self.now_ms())

    def _push_user(self, payload: bytes, now_ms: int) -> None:
        self.hub.push_user(payload, self._alive, now_ms)

    def _alive(self, key: str) -> bool:
        return self.keys.alive(key, self.now_ms())

    def connected(self, socket: Socket) -> None:
        """Take in a new socket. One with an unknown or lapsed key gets Pings and no events; what
        the exchange does then is not established."""
        self.hub.sockets.append(socket)
        if socket.listen_key and self._alive(socket.listen_key):
            self._send_snapshot(socket, self.now_ms())

    def _send_snapshot(self, socket: Socket, now_ms: int) -> None:
        """The configuration of every symbol, one frame each (dossier §3.2)."""
        if not self.switches.config_snapshots:
            return
        for symbol in self.exchange.contracts:
            leverage = self.exchange.leverage(symbol)
            event = ConfigUpdate(
                symbol=symbol,
                long_leverage=leverage.long,
                short_leverage=leverage.short,
                margin_type=self.exchange.margin_type(symbol),
                time_ms=now_ms,
            )
            socket.send(gzipped(encode(event_shapes.config_snapshot(event, now_ms))), now_ms)

    # -- LAGGING ORDERS -------------------------------------------------------------------------

    def placed(self, order: Order, subject: str, now_ms: int) -> None:
        """Let queries not know an order for a while, where a fault says so."""
        for rule in self.plan.hits(LAGS, subject, now_ms):
            code = rule.code or BEING_PROCESSED
            self._lags[order.order_id] = (now_ms + rule.ms, code)

    def check_lag(self, order: Order, now_ms: int) -> None:
        """Refuse a query of an order that lags."""
        until_ms, code = self._lags.get(order.order_id, (0, 0))
        if now_ms < until_ms:
            known = code == BEING_PROCESSED
            text = "order is being processed, use allOrders later" if known else "order not exist"
            refuse(self.code_of(code), text)

    def hidden(self, order: Order, now_ms: int) -> bool:
        """Whether lists lack it: only an order that is said not to exist."""
        until_ms, code = self._lags.get(order.order_id, (0, 0))
        return now_ms < until_ms and code == UNKNOWN_ORDER

    # -- ACTS -----------------------------------------------------------------------------------

    def acts_after(self, subject: str) -> None:
        """Do what faults attach to a call."""
        acts = self.plan.hits(ACTS, subject, self.now_ms())
        for rule in acts:
            self.act(rule)
        if acts:
            self.push_events()

    def act(self, rule: FaultRule) -> None:
        """Let something happen by itself. What the core refuses is kept for the book's dump."""
        now_ms = self.now_ms()
        try:
            match rule.kind:
                case FaultKind.LISTEN_KEY_DEATH:
                    self.keys.kill_all(now_ms)
                case FaultKind.HALF_OPEN:
                    self.hub.silence(now_ms + (rule.ms or FOR_EVER_MS))
                case FaultKind.SOCKET_CLOSED:
                    self.hub.drop_users()
                case FaultKind.LIQUIDATION:
                    self.exchange.liquidate(rule.symbol, now_ms)
                case FaultKind.FOREIGN_ORDER:
                    self._foreign_order(rule, now_ms)
        except Refused as no:
            self.refused_acts.append(f"{rule.kind.value}: {no.code} {no.msg}")

    def _foreign_order(self, rule: FaultRule, now_ms: int) -> None:
        self.exchange.foreign_order(
            rule.symbol,
            Side(rule.side),
            parse_quantity(rule.quantity),
            now_ms,
            PositionSide(rule.position_side),
        )
