"""Full sessions: kernel, runtime and BingX adapter against the local exchange, over real sockets.

One script of trades, every fault of the exchange, both position modes, with the stream and without
it.  What counts in the end is the exchange's own book: same orders, flat, the same money.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from traceback import format_exception
from typing import Any, Final

import pytest
from support.bingx_rig import BingxStand
from support.engine_driver import LONG, SHORT, m, p, q
from support.floor import MemoryLog

from dita.clock import SystemClock
from dita.contracts import (
    KernelCommandType,
    KernelIntent,
    OrderType,
    TradeSide,
    TradeStage,
)
from dita.engine import Engine, Outcome
from dita.exchange.model.market import Shape
from dita.exchange.model.records import PositionSide, Side
from dita.exchange.wire.faults import FaultKind as F
from dita.kernel import KernelConfig
from dita.runtime.loop import Runtime
from dita.runtime.queries.order_query import OrderQuery
from dita.runtime.service import Cadence, Service

FET, TRX = "FET-USDT", "TRX-USDT"
PLACE, CANCEL = "POST */trade/order", "DELETE */trade/order"
#: Thin enough that a MARKET order needs several levels.
THIN: Final = Shape(level_notional=150 * 10**18)
CADENCE: Final = Cadence(
    tick_ms=50, in_flight_s=1, open_orders_s=2, positions_s=2, balance_s=2, income_s=2,
    drain_limit_s=5,
)  # fmt: skip
#: Answers have four decimals, and a session has fewer flows than this.
CENT: Final = m("0.01")


class Session:
    """One exchange, one service, and the words to drive them."""

    def __init__(self, stand: BingxStand, hedge: bool) -> None:
        self.stand = stand
        self.exchange = stand.exchange
        self.clock = SystemClock()
        self.engine = Engine(KernelConfig(balance_max_age_ms=60_000, hedge=hedge))
        self.log = MemoryLog()
        self.runtime = Runtime(
            engine=self.engine, log=self.log, venue=stand.venue, clock=self.clock
        )
        self.service = Service(
            self.runtime, OrderQuery(self.runtime, absence_fence_ms=300), CADENCE
        )
        self.intents = 0

    async def intent(self, command: KernelCommandType, trade: str, **fields: Any) -> Outcome:
        self.intents += 1
        return await self.runtime.ask(
            KernelIntent(
                command=command,
                received_ms=1,
                intent_id=f"intent-{self.intents}",
                trade_id=trade,
                **fields,
            )
        )

    async def enter(self, trade: str, side: TradeSide, asset: str = FET, **fields: Any) -> None:
        """ENTER, as often as it takes: a gate may be shut for a moment, or the order not taken."""
        contract = await self.contract(asset)
        for turn in range(300):
            done = await self.intent(
                KernelCommandType.ENTER,
                trade,
                asset=asset,
                side=side,
                quantity_e8=q(1000),
                reference_price_e10=p("0.5"),
                contract=contract,
                **fields,
            )
            if done.kernel.accepted:
                return
            await asyncio.sleep(0.1)
            assert turn < 299, f"never entered: {done.kernel.code}, {done.kernel.details}"

    async def contract(self, asset: str) -> Any:
        while True:
            try:
                return await self.stand.venue.contract(asset)
            except Exception:  # noqa: BLE001  (a fault of the session)
                await asyncio.sleep(0.1)

    def stage(self, trade: str) -> TradeStage:
        for slot in self.engine.kernel.active_slots():
            if slot.trade_id == trade:
                return slot.state
        return TradeStage.IDLE

    async def until(self, true: Callable[[], bool], what: str, seconds: float = 40) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while not true():
            if asyncio.get_running_loop().time() > end:
                raise AssertionError(f"never: {what}; {self.engine.kernel.active_slots()}")
            await asyncio.sleep(0.02)

    async def until_not(self, trade: str, stage: TradeStage) -> None:
        await self.until(lambda: self.stage(trade) is not stage, f"{trade} leaves {stage.name}")

    async def gone(self, trade: str) -> None:
        await self.until(lambda: self.stage(trade) is TradeStage.IDLE, f"{trade} is over")

    async def move(self, price: str) -> None:
        await self.stand.move_price(p(price))

    def by_hand(self, asset: str, side: Side, quantity: int, position: PositionSide) -> None:
        """A MARKET order that is not ours."""
        both = PositionSide.BOTH
        self.exchange.foreign_order(
            asset,
            side,
            q(quantity),
            self.clock.now_ms(),
            position if self.exchange.hedge else both,
        )
        self.stand.session.push_events()

    def size(self, trade: str) -> int:
        slots = self.engine.kernel.active_slots()
        return next((slot.size_e8 for slot in slots if slot.trade_id == trade), 0)

    def quiet(self) -> bool:
        return not self.engine.kernel.open_orders()

    def settled(self) -> bool:
        """Nothing of ours is open or unread any more."""
        kernel = self.engine.kernel
        return not kernel.open_orders() and all(t.closed for t in kernel.trades())


async def open_one(session: Session, name: str, side: TradeSide, leverage: int = 1) -> str:
    """Enter until an order is taken; the trade's id."""
    await session.move("0.5")
    for attempt in range(5):
        trade_id = f"{name}-{attempt}"
        await session.enter(
            trade_id, side, exit_leg_ratios_e9=(5 * 10**8, 10**9), leverage=leverage
        )
        await session.until_not(trade_id, TradeStage.ENTRY_WORKING)
        if session.stage(trade_id) is not TradeStage.IDLE:
            return trade_id
    raise AssertionError("no entry was taken")


async def trade(session: Session, name: str, side: TradeSide) -> None:
    """In, out in two legs at other prices."""
    trade_id = await open_one(session, name, side)
    for price in ("0.51", "0.48"):
        await session.move(price)
        await session.intent(KernelCommandType.EXIT, trade_id)
        await session.until(
            lambda: session.stage(trade_id) in (TradeStage.POSITION_OPEN, TradeStage.IDLE),
            "leg out",
        )
    if session.stage(trade_id) is not TradeStage.IDLE:
        await session.intent(KernelCommandType.EXIT, trade_id, urgent=True)
    await session.gone(trade_id)


async def quote(session: Session) -> None:
    """A LIMIT entry that rests, and is taken back."""
    await session.move("0.5")
    await session.enter("quote", LONG, order_type=OrderType.LIMIT, limit_price_e10=p("0.4"))
    await session.until(
        lambda: (
            any(o.type == "LIMIT" for o in session.exchange.orders.values())
            or session.stage("quote") is TradeStage.IDLE
        ),
        "the quote rests",
    )
    if session.stage("quote") is not TradeStage.IDLE:
        await session.intent(KernelCommandType.CANCEL, "quote")
    await session.gone("quote")


# -- what others do --------------------------------------------------------------------------------


async def opened(session: Session, leverage: int = 1) -> str:
    """A position at rest: open, its entry final, income read past it."""
    trade_id = await open_one(session, "open", LONG, leverage)
    await session.until(session.quiet, "nothing in flight")
    return trade_id


async def closed_by_hand(session: Session) -> None:
    """Somebody closes our position at the exchange's own screen."""
    trade_id = await opened(session)
    await session.move("0.47")
    session.by_hand(FET, Side.SELL, 1000, PositionSide.LONG)
    await session.gone(trade_id)


async def half_closed_by_hand(session: Session) -> None:
    """Half of it; we close the rest."""
    trade_id = await opened(session)
    session.by_hand(FET, Side.SELL, 400, PositionSide.LONG)
    await session.until(lambda: session.size(trade_id) == q(600), "600 left")
    await session.intent(KernelCommandType.EXIT, trade_id, urgent=True, quantity_e8=q(600))
    await session.gone(trade_id)


async def liquidated(session: Session) -> None:
    """The exchange closes it, for more than the wallet holds: the insurance fund bears the rest."""
    trade_id = await opened(session, leverage=3)
    session.exchange.transfer(-session.exchange.wallet + m(300), session.clock.now_ms())
    session.stand.session.push_events()
    await session.move("0.05")
    assert session.exchange.wallet == 0
    await session.gone(trade_id)
    session.exchange.transfer(m(1000), session.clock.now_ms())
    session.stand.session.push_events()


async def deleveraged(session: Session) -> None:
    """ADL."""
    trade_id = await opened(session)
    await session.move("0.55")
    session.exchange.liquidate(FET, session.clock.now_ms(), adl=True)
    session.stand.session.push_events()
    await session.gone(trade_id)


async def funded(session: Session) -> None:
    """Funding while we hold, a deposit and a withdrawal."""
    trade_id = await opened(session)
    await session.stand.fund(300_000)
    session.exchange.transfer(m("123.45"), session.clock.now_ms())
    session.exchange.transfer(m("-23.45"), session.clock.now_ms())
    session.stand.session.push_events()
    await session.intent(KernelCommandType.EXIT, trade_id, urgent=True, quantity_e8=q(1000))
    await session.gone(trade_id)


async def others_trade(session: Session) -> None:
    """Somebody trades another symbol on the account, and ours before we do."""
    session.by_hand(TRX, Side.BUY, 5000, PositionSide.LONG)
    session.by_hand(FET, Side.BUY, 100, PositionSide.LONG)
    session.exchange.set_price(TRX, p("0.12"), session.clock.now_ms())
    session.by_hand(TRX, Side.SELL, 5000, PositionSide.LONG)
    session.by_hand(FET, Side.SELL, 100, PositionSide.LONG)
    await trade(session, "ours", SHORT)


async def play(session: Session) -> None:
    """The whole script."""
    await trade(session, "long", LONG)
    await trade(session, "short", SHORT)
    await quote(session)


def same_books(session: Session) -> None:
    """The exchange's own book against ours."""
    kernel, exchange = session.engine.kernel, session.exchange
    assert exchange.positions() == []
    assert not exchange.open_orders()
    ours = [o for o in exchange.orders.values() if o.client_order_id]
    assert max(Counter(o.client_order_id for o in ours).values()) == 1
    known = {o.venue_order_id: o for t in kernel.trades() for o in kernel.orders_of(t.trade_no)}
    for order in exchange.orders.values():
        mine = known.get(str(order.order_id))
        if mine is None:
            assert order.foreign or not order.executed_e8, f"not in our books: {order}"
            continue
        if mine.external:  # of what others did only our share is booked
            assert mine.filled_e8 <= order.executed_e8
            continue
        assert mine.filled_e8 == order.executed_e8
        assert mine.cost == order.cost
    snapshot = session.engine.snapshot
    assert abs(snapshot.k_capital - exchange.wallet - foreign(session)) < CENT
    assert abs(snapshot.capital - exchange.wallet) < CENT
    unexplained = {c: v for c, v in snapshot.drift_by_cause.items() if abs(v) >= CENT}
    assert set(unexplained) <= {"foreign_activity"}, unexplained


def foreign(session: Session) -> int:
    """What others did on the account: E moved by it, K did not."""
    return -session.engine.kernel.ledger().foreign


Spoil = Callable[[BingxStand], None]
Script = Callable[[Session], Coroutine[Any, Any, None]]


def fault(kind: F, on: str = "", **fields: Any) -> Spoil:
    return lambda stand: stand.fault(kind, on, **fields)


EVENTS = "ORDER_TRADE_UPDATE *"
FAULTS: Final[dict[str, Spoil]] = {
    "none": lambda stand: None,
    "request lost": fault(F.REQUEST_LOST, PLACE, nth=1, times=2),
    "answer lost": fault(F.ANSWER_LOST, PLACE, nth=2, times=2),
    "first answer lost": fault(F.ANSWER_LOST, PLACE),
    "504 after execution": fault(F.GATEWAY_TIMEOUT, PLACE, nth=1, times=3),
    "html": fault(F.HTML, PLACE, nth=2, status=502),
    "truncated": fault(F.TRUNCATED, PLACE, nth=2),
    "rate limited, with a time": fault(F.RATE_LIMITED, PLACE, nth=2, times=2, retry_ms=800),
    "rate limited, without": fault(F.RATE_LIMITED, PLACE, nth=1),
    "busy": fault(F.REFUSED, PLACE, nth=2, code=109500, msg="system busy"),
    "status lag": fault(F.STATUS_LAG, PLACE, times=0, ms=600, code=109423),
    "not found for a while": fault(F.STATUS_LAG, PLACE, times=0, ms=250, code=109421),
    "cancel lost": fault(F.ANSWER_LOST, CANCEL),
    "cancel not sent on": fault(F.REQUEST_LOST, CANCEL),
    "questions fail": fault(F.REQUEST_LOST, "GET *", nth=8, times=12),
    "questions cut": fault(F.TRUNCATED, "GET *", nth=8, times=12),
    "questions as html": fault(F.HTML, "GET *", nth=8, times=12, status=200),
    "questions limited": fault(F.RATE_LIMITED, "GET */user/*", nth=4, times=4, retry_ms=700),
    "events dropped": fault(F.EVENT_DROPPED, EVENTS, nth=2, times=6),
    "events delayed": fault(F.EVENT_DELAYED, EVENTS, times=0, ms=700),
    "events twice": fault(F.EVENT_DUPLICATED, "*", times=0),
    "events reordered": fault(F.EVENT_REORDERED, "*", times=0, probability="0.5"),
    "zero balances": fault(F.ZERO_BALANCE, "ACCOUNT_UPDATE *", times=0),
    "price bound": fault(F.PRICE_BOUND, EVENTS, times=0),
    "key dies": fault(F.LISTEN_KEY_DEATH, PLACE, nth=2),
    "half open": fault(F.HALF_OPEN, PLACE, nth=2),
    "socket closed": fault(F.SOCKET_CLOSED, PLACE, nth=2, times=2),
    "storm": fault(F.RATE_LIMITED, "GET *", nth=8, times=15, status=429),
    "storm, with a time": fault(F.RATE_LIMITED, "GET *", nth=8, times=9, status=429, retry_ms=900),
    "last fill missing": fault(F.LAST_FILL_MISSING, EVENTS, nth=3, times=3),
    "no config frames": lambda stand: None,
    "last fill told": lambda stand: None,
    "older generation": lambda stand: None,
}
#: Dialects of the exchange, by the session's name.
DIALECTS: Final[dict[str, dict[str, Any]]] = {
    "last fill missing": {"last_fill": True},
    "last fill told": {"last_fill": True},
    "no config frames": {"config_snapshots": False},
    "older generation": {
        "errors": "old",
        "order_reply": "wrapped",
        "resting": "NEW",
        "cancelled": "CANCELED",
    },
}


SCRIPTS: Final[dict[str, Script]] = {
    script.__name__.replace("_", " "): script
    for script in (
        closed_by_hand,
        half_closed_by_hand,
        liquidated,
        deleveraged,
        funded,
        others_trade,
    )
}


async def session_of(
    spoil: Spoil, script: Script, *, hedge: bool, stream: bool,
    **switches: Any,
) -> Session:  # fmt: skip
    """Play a session and look at both books when everything has settled."""
    stand = await BingxStand.make(hedge=hedge, clock=SystemClock(), shape=THIN, **switches)
    session = Session(stand, hedge)
    pulse = asyncio.create_task(pulsing(stand))
    try:
        if not stream:
            stand.fault(F.EVENT_DROPPED, "*", times=0)
        await session.service.start()
        spoil(stand)
        failure = asyncio.create_task(session.runtime.failure())
        played = asyncio.create_task(script(session))
        await asyncio.wait({failure, played}, return_when=asyncio.FIRST_COMPLETED)
        failure.cancel()
        if not played.done():
            failure.result()
        await played
        stand.session.plan.clear()
        await session.until(session.settled, "everything final")
        await up_to_date(session)
        same_books(session)
        assert await session.service.drain()
    finally:
        pulse.cancel()
        await session.service.close()
        await stand.close()
    return session


async def pulsing(stand: BingxStand) -> None:
    while True:
        stand.session.pulse()
        await asyncio.sleep(0.05)


async def up_to_date(session: Session) -> None:
    """Income was read, all of it asked for after now, and a balance after that."""
    ledger, feeds = session.engine.kernel.ledger, session.service.feeds
    for _ in range(3):
        read_ms, balance_ms = ledger().income_read_ms, feeds.balance_ms
        while ledger().income_read_ms <= read_ms or feeds.balance_ms <= balance_ms:
            await asyncio.sleep(0.02)


# -- all of them -----------------------------------------------------------------------------------

#: Sessions mostly wait: so many are played at a time in one process, and there are two of them.
AT_A_TIME: Final = 14
Case = tuple[str, bool, bool]
#: What became of each session: nothing, or its traceback.
Results = dict[Case, str]


async def play_all(cases: list[Case]) -> list[str]:
    """Play the sessions beside one another."""
    turns = asyncio.Semaphore(AT_A_TIME)

    async def one(case: Case) -> None:
        name, stream, hedge = case
        async with turns:
            spoil, script = FAULTS.get(name, FAULTS["none"]), SCRIPTS.get(name, play)
            dialect = DIALECTS.get(name, {})
            await session_of(spoil, script, hedge=hedge, stream=stream, **dialect)

    ends = await asyncio.gather(*map(one, cases), return_exceptions=True)
    return ["".join(format_exception(end)) if end else "" for end in ends]


def case_of(item: pytest.Function) -> Case:
    params: Any = item.callspec.params
    return params["name"], params["stream"], params["hedge"]


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Results:
    """All sessions that this run selected, played once."""
    chosen = [
        case_of(item)
        for item in request.session.items
        if isinstance(item, pytest.Function) and "results" in item.fixturenames
    ]
    halves = (chosen[0::2], chosen[1::2])
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    players = [
        subprocess.Popen(
            [sys.executable, __file__], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in halves
    ]
    found: Results = {}
    for player, half in zip(players, halves, strict=True):
        assert player.stdin is not None
        player.stdin.write(json.dumps(half).encode())
        player.stdin.close()
    for player, half in zip(players, halves, strict=True):
        with player:
            assert player.stdout is not None
            found |= zip(half, json.loads(player.stdout.read()), strict=True)
    return found


@pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "poll"])
@pytest.mark.parametrize("name", [*FAULTS, *SCRIPTS])
def test_every_session_ends_in_equal_books(
    name: str, stream: bool, hedge: bool, results: Results
) -> None:
    if results[name, stream, hedge]:
        pytest.fail(results[name, stream, hedge], pytrace=False)


if __name__ == "__main__":
    json.dump(asyncio.run(play_all([tuple(case) for case in json.load(sys.stdin)])), sys.stdout)
