"""The way out when serve cannot run: own symbols are made flat from the exchange's truth alone.

Works through the Venue protocol without kernel, journal or state; every step is in a log of its own
before it is taken.  An order whose answer is lost is found or proven absent before anything is sent
for its symbol again.  It goes on until the venue says flat again and again, or the time is up.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Collection, Iterable
from pathlib import Path
from typing import Final, TypeVar

from msgspec.structs import replace

from dita.clock import Clock
from dita.contracts import (
    ENDED_STATUSES,
    KernelEventKind,
    KernelIntent,
    OrderSide,
    OrderType,
    Record,
    RejectReason,
    VenueEvent,
)
from dita.errors import SettingsError
from dita.identity import emergency_client_id, plain_symbol
from dita.journal import Salvage
from dita.runtime.emergency.owned import is_ours
from dita.runtime.equal_errors import EqualErrors
from dita.units import QUANTITY_MAX, format_quantity
from dita.venues import (
    AccessRefused,
    NotSent,
    OrderRef,
    OrderReport,
    OutcomeUnknown,
    PositionReport,
    QueryFailed,
    SubmitOrder,
    UnreadableRow,
    Venue,
    unreadable_in,
)
from dita.venues.absence import find_or_prove_absent

PAUSE_MIN_S: Final = 0.1
PAUSE_MAX_S: Final = 2.0
#: An empty answer can be wrong: so many in a row, and it is believed.
FLAT_ANSWERS: Final = 3
#: Between two tries after the venue refused our access.
ACCESS_PAUSE_S: Final = 5.0
#: What a refusal means to a person, beside the venue's own words.
_HINTS: Final = {
    RejectReason.POSITION_MISMATCH: "nothing to close, or a stop set at the venue's own screen"
    " locks it: cancel that there",
    RejectReason.SUSPENDED: "the symbol is not traded now",
    RejectReason.BELOW_MINIMUM: "below the minimum: close it at the venue's own screen",
}

T = TypeVar("T")
Say = Callable[[str], None]
#: How much of a position may be closed for us, unsigned.  QueryFailed.
Share = Callable[[PositionReport], Awaitable[int]]


def traded(journal: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Symbols that a journal names as far as it can be read, and what could not be read of it."""
    salvage = Salvage(journal)
    assets = (r.asset for r in salvage.inputs() if isinstance(r, KernelIntent) and r.asset)
    return tuple(dict.fromkeys(assets)), salvage.problems


class Plan(Record, frozen=True, kw_only=True):
    """What is open at the venue: what will be closed, and what is left alone.

    ``unreadable`` rows of the venue's answers may be about what is to be closed.
    """

    orders: tuple[OrderReport, ...]
    positions: tuple[PositionReport, ...]
    foreign_orders: tuple[OrderReport, ...]
    other_positions: tuple[PositionReport, ...]
    unreadable: tuple[UnreadableRow, ...] = ()

    @property
    def flat(self) -> bool:
        """Is there nothing to do?"""
        return not self.orders and not self.positions and not self.unreadable


class EmergencyLog:
    """Lines of JSON beside the journal, each on the disk before the step that it tells of.

    When the disk takes them no more they are said instead: what has to be closed does not wait.
    """

    def __init__(self, directory: Path, clock: Clock, say: Say) -> None:
        self.path = directory / f"emergency-{clock.now_ms()}.jsonl"
        self._clock = clock
        self._say = say
        self._fd = -1
        self._usable = True

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, 0o600)
        fd = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def write(self, step: str, **told: str | int | bool) -> None:
        """One line, durable when this returns; said when it cannot be."""
        line = json.dumps({"time_ms": self._clock.now_ms(), "step": step, **told})
        if self._usable:
            data = line.encode() + b"\n"
            try:
                if self._fd < 0:
                    self._open()
                while data:
                    data = data[os.write(self._fd, data) :]
                os.fsync(self._fd)
                return
            except OSError as bad:
                self._give_up(bad)
        self._say(f"log: {line}")

    def _give_up(self, bad: OSError) -> None:
        self.close()
        self._usable = False
        self._say(f"the log {self.path} cannot be written ({bad.strerror}): it goes on here")

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Emergency:
    """Looks, cancels, closes, looks again, until nothing of ours is open or the time is up."""

    def __init__(
        self,
        venue: Venue,
        clock: Clock,
        log: EmergencyLog,
        say: Say,
        *,
        symbols: Iterable[str],
        everything: bool,
        namespace: str,
        absence_fence_ms: int,
        limit_s: int,
        share: Share | None = None,
        errors: EqualErrors | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.venue = venue
        self.clock = clock
        self.log = log
        self.say = say
        self.symbols = {plain_symbol(symbol): symbol for symbol in symbols}
        self.everything = everything
        self.share = share
        self.absence_fence_ms = absence_fence_ms
        self._until_ns = clock.monotonic_ns() + limit_s * 10**9
        self._origin = (namespace, clock.now_ms())
        self._sent = 0
        self._errors = errors or EqualErrors(clock)
        self._sleep = sleep
        #: Positions that are believed in and answered nowhere, and refused as not there.
        self._gone: set[tuple[str, OrderSide]] = set()
        self._waiting: set[str] = set()

    @property
    def _late(self) -> bool:
        return self.clock.monotonic_ns() >= self._until_ns

    # -- looking -----------------------------------------------------------------------------------

    async def look(self) -> Plan:
        """What is open now.  QueryFailed when the venue does not say before the time is up."""
        # Orders before positions: what fills in between is then in the positions.
        symbols = dict(self.symbols)
        if self.everything:
            symbols |= {
                plain_symbol(p.asset): p.asset for p in await self._answer(self.venue.positions)
            }
        orders: list[OrderReport] = []
        unreadable: list[UnreadableRow] = []
        for symbol in symbols.values():
            found = await self._answer(lambda symbol=symbol: self.venue.open_orders(symbol))  # type: ignore[misc]
            orders += found
            unreadable += [row for row in unreadable_in(found) if _may_be_ours(row)]
        answer = await self._answer(self.venue.positions)
        positions = [p for p in answer if p.quantity_e8]
        odd = unreadable_in(answer)
        wanted = list(symbols.values())
        unreadable += [
            row for row in odd if self.everything or any(row.may_concern(s) for s in wanted)
        ]
        chosen, others = await self._shared(positions, symbols)
        return Plan(
            orders=tuple(o for o in orders if is_ours(o.client_order_id)),
            positions=tuple(chosen),
            foreign_orders=tuple(o for o in orders if not is_ours(o.client_order_id)),
            other_positions=tuple(others),
            unreadable=tuple(unreadable),
        )

    async def _shared(
        self, positions: list[PositionReport], symbols: Collection[str]
    ) -> tuple[list[PositionReport], list[PositionReport]]:
        """What is to be closed of the positions, and what is left alone."""
        chosen, others = [], []
        for position in positions:
            close_e8 = 0
            if self.everything or plain_symbol(position.asset) in symbols:
                close_e8 = position.quantity_e8
                if self.share is not None and not self.everything:
                    share = self.share
                    close_e8 = await self._answer(lambda: share(position))  # noqa: B023
            if close_e8:
                chosen.append(replace(position, quantity_e8=close_e8))
            if left_e8 := position.quantity_e8 - close_e8:
                others.append(replace(position, quantity_e8=left_e8))
        return chosen, others

    async def _answer(self, question: Callable[[], Awaitable[T]]) -> T:
        pause_s = PAUSE_MIN_S
        while True:
            try:
                return await question()
            except QueryFailed as bad:
                if self._late:
                    raise
                self.say(f"no answer ({bad}); asked again")
            except AccessRefused as bad:
                if self._late:
                    raise
                await self._renew_access(bad)
                pause_s = ACCESS_PAUSE_S
            await self._sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _renew_access(self, refused: AccessRefused) -> None:
        """The key files may have been changed, or be changed while this runs."""
        self.say(f"{refused}; the keys are read again")
        try:
            await self.venue.renew_access()
        except SettingsError as bad:
            self.say(str(bad))

    # -- acting ------------------------------------------------------------------------------------

    async def flatten(self) -> bool:
        """True when nothing of ours is open any more, by the venue's own word."""
        pause_s, flat_answers = PAUSE_MIN_S, 0
        while True:
            plan = await self.look()
            flat_answers = flat_answers + 1 if plan.flat else 0
            positions = plan.positions
            if flat_answers >= FLAT_ANSWERS:
                positions = await self._believed()
                if not positions:
                    return self._end("flat", True)
            if self._late:
                odd = "".join(f"; cannot be read: {row.why}" for row in plan.unreadable[:1])
                return self._end(f"not flat{odd}", False)
            for ref in _to_cancel(plan):
                await self._cancel(ref)
            for position in positions:
                if not await self._close(position):
                    return self._end("an order is unknown, and nothing was sent after it", False)
            await self._sleep(PAUSE_MIN_S * 5 if plan.flat else pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _believed(self) -> tuple[PositionReport, ...]:
        """What own orders left open although the venue answers that nothing is there.

        A reduce-only order costs nothing when the answer is right: it is refused, and then that is
        the second witness.
        """
        found = []
        for symbol in self.symbols.values() if self.share is not None else ():
            for side in (OrderSide.BUY, OrderSide.SELL):
                whole = PositionReport(
                    asset=symbol,
                    side=side,
                    quantity_e8=QUANTITY_MAX,
                    average_price_e10=0,
                    leverage=1,
                    updated_ms=0,
                )
                share = self.share
                own_e8 = await self._answer(lambda: share(whole))  # type: ignore[misc] # noqa: B023
                if own_e8 and (symbol, side) not in self._gone:
                    found.append(replace(whole, quantity_e8=own_e8))
        return tuple(found)

    def _end(self, told: str, flat: bool) -> bool:
        self._step("end", told, flat=flat)
        return flat

    def _step(self, step: str, told: str, **more: str | int | bool) -> None:
        self.log.write(step, told=told, **more)
        self.say(f"{step}: {told}")

    async def _cancel(self, ref: OrderRef) -> None:
        ids = {"client_order_id": ref.client_order_id, "venue_order_id": ref.venue_order_id}
        self._step("cancel", f"{ref.asset} {ref.venue_order_id}", asset=ref.asset, **ids)
        try:
            await self.venue.cancel(ref)
        except (NotSent, OutcomeUnknown) as bad:
            # The next look shows whether it still works; a second cancel does no harm.
            self._step("cancel unanswered", str(bad), **ids)
        except AccessRefused as bad:
            await self._renew_access(bad)

    async def _close(self, position: PositionReport) -> bool:
        """Send one order for a position; False when what became of it cannot be found out."""
        if wait_ms := self._errors.wait_ms(position.asset):
            if position.asset not in self._waiting:
                self.say(f"{position.asset}: too many equal refusals, next try in {wait_ms} ms")
            self._waiting.add(position.asset)
            return True
        self._waiting.discard(position.asset)
        order = SubmitOrder(
            client_order_id=self._new_id(position.asset),
            asset=position.asset,
            side=OrderSide(-position.side),
            order_type=OrderType.MARKET,
            quantity_e8=position.quantity_e8,
            reduce_only=True,
            leverage=position.leverage,
        )
        what = f"{order.side.name} {format_quantity(order.quantity_e8)} {order.asset} reduce-only"
        ids = {"client_order_id": order.client_order_id}
        self._step("submit", what, asset=order.asset, quantity_e8=order.quantity_e8, **ids)
        try:
            events = await self.venue.submit(order)
        except NotSent as bad:
            self._step("not sent", str(bad), **ids)
            return True
        except AccessRefused as bad:
            self._step("access refused", str(bad), **ids)
            await self._renew_access(bad)
            return True
        except OutcomeUnknown as bad:
            self._errors.note(order.asset, bad.error_code)
            self._step("unknown", f"{bad}; queried, not sent again", **ids)
            return await self._ended(order)
        return await self._answered(order, events)

    def _new_id(self, asset: str) -> str:
        self._sent += 1
        return emergency_client_id(*self._origin, asset, self._sent)

    async def _answered(self, order: SubmitOrder, events: tuple[VenueEvent, ...]) -> bool:
        for event in events:
            if event.kind is KernelEventKind.ORDER_REJECT:
                self._rejected(order, event)
                return True
            if event.kind is KernelEventKind.RATE_LIMITED:
                self._step("rate limited", f"wait {event.retry_after_ms} ms", asset=order.asset)
                left_s = (self._until_ns - self.clock.monotonic_ns()) / 10**9
                await self._sleep(max(min(event.retry_after_ms / 1000, left_s), PAUSE_MIN_S))
                return True
        return await self._ended(order)

    def _rejected(self, order: SubmitOrder, event: VenueEvent) -> None:
        reason = RejectReason(event.reject)
        if reason is not RejectReason.BELOW_MINIMUM or event.error_code:
            self._errors.note(order.asset, event.error_code)
        if reason is RejectReason.POSITION_MISMATCH:
            self._gone.add((order.asset, OrderSide(-order.side)))
        words = [reason.name, str(event.error_code or ""), event.message, _HINTS.get(reason, "")]
        told = f"{order.asset}: {'; '.join(word for word in words if word)}"
        self._step("rejected", told, asset=order.asset, code=event.error_code)

    async def _ended(self, order: SubmitOrder) -> bool:
        """Ask until the order has ended or is proven absent; False when the time is up before."""
        ref = OrderRef(asset=order.asset, client_order_id=order.client_order_id)
        ids = {"client_order_id": order.client_order_id}
        while not self._late:
            try:
                report = await find_or_prove_absent(
                    self.venue,
                    ref,
                    order.side,
                    fence_ms=self.absence_fence_ms,
                    wait=self._wait,
                    failed=lambda bad: self.say(f"no answer ({bad}); asked again"),
                )
            except (QueryFailed, AccessRefused) as bad:
                if isinstance(bad, AccessRefused):
                    await self._renew_access(bad)
                    await self._sleep(ACCESS_PAUSE_S)
                continue
            if report is None:
                self._step("absent", f"{order.asset}: it never reached the exchange", **ids)
                return True
            if report.status in ENDED_STATUSES:
                filled = format_quantity(report.filled_e8)
                self._step("ended", f"{report.status.name}, {filled} of {order.asset}", **ids)
                return True
            await self._sleep(PAUSE_MIN_S)
        return False

    async def _wait(self, rounds: int) -> bool:
        await self._sleep(min(PAUSE_MIN_S * 2 ** min(rounds, 8), PAUSE_MAX_S))
        return not self._late


def _may_be_ours(row: UnreadableRow) -> bool:
    return not row.client_order_id or is_ours(row.client_order_id)


def _to_cancel(plan: Plan) -> list[OrderRef]:
    """Our working orders, those included of which no more can be read than who they are."""
    known = [(o.asset, o.client_order_id, o.venue_order_id) for o in plan.orders]
    known += [
        (row.asset, row.client_order_id, row.venue_order_id)
        for row in plan.unreadable
        if row.asset and is_ours(row.client_order_id)
    ]
    return [
        OrderRef(asset=asset, client_order_id=client_id, venue_order_id=venue_id)
        for asset, client_id, venue_id in known
    ]
