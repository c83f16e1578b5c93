"""The way out when serve cannot run: own symbols are made flat from the exchange's truth alone.

Works through the Venue protocol without kernel, journal or state; every step is in a log of its own
before it is taken.  An answer that is lost is found out about by the order's client id, and nothing
is sent again before that.
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
from dita.identity import client_order_id, plain_symbol
from dita.journal import Salvage
from dita.runtime.owned import is_ours
from dita.units import format_quantity
from dita.venues import (
    NotSent,
    OrderRef,
    OrderReport,
    OutcomeUnknown,
    PositionReport,
    QueryFailed,
    SubmitOrder,
    Venue,
)
from dita.venues.absence import AbsenceProof, Verdict

LOOK_BACK_MS: Final = 3_600_000
PAUSE_MIN_S: Final = 0.1
PAUSE_MAX_S: Final = 2.0
#: So many refusals of one symbol's orders, and a person has to look.
REJECTS_MAX: Final = 3
#: With a 0, which no id of a kernel has: a later one takes these for somebody else's.
PREFIX: Final = "flatten0"

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
    """What is open at the venue: what will be closed, and what is left alone."""

    orders: tuple[OrderReport, ...]
    positions: tuple[PositionReport, ...]
    foreign_orders: tuple[OrderReport, ...]
    other_positions: tuple[PositionReport, ...]

    @property
    def flat(self) -> bool:
        """Is there nothing to do?"""
        return not self.orders and not self.positions


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
        self._rejects: dict[str, int] = {}

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
        for symbol in symbols.values():
            orders += await self._answer(lambda symbol=symbol: self.venue.open_orders(symbol))  # type: ignore[misc]
        positions = [p for p in await self._answer(self.venue.positions) if p.quantity_e8]
        chosen, others = await self._shared(positions, symbols)
        return Plan(
            orders=tuple(o for o in orders if is_ours(o.client_order_id)),
            positions=tuple(chosen),
            foreign_orders=tuple(o for o in orders if not is_ours(o.client_order_id)),
            other_positions=tuple(others),
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
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    # -- acting ------------------------------------------------------------------------------------

    async def flatten(self) -> bool:
        """True when nothing of ours is open any more, by the venue's own word."""
        pause_s = PAUSE_MIN_S
        while not (plan := await self.look()).flat:
            if self._late or self._hopeless(plan):
                return self._end("not flat", False)
            for order in plan.orders:
                await self._cancel(order)
            for position in plan.positions:
                if not await self._close(position):
                    return self._end("an order is unknown, and nothing was sent after it", False)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        return self._end("flat", True)

    def _hopeless(self, plan: Plan) -> bool:
        return not plan.orders and all(
            self._rejects.get(p.asset, 0) >= REJECTS_MAX for p in plan.positions
        )

    def _end(self, told: str, flat: bool) -> bool:
        self._step("end", told, flat=flat)
        return flat

    def _step(self, step: str, told: str, **more: str | int | bool) -> None:
        self.log.write(step, told=told, **more)
        self.say(f"{step}: {told}")

    async def _cancel(self, order: OrderReport) -> None:
        ids = {"client_order_id": order.client_order_id, "venue_order_id": order.venue_order_id}
        self._step("cancel", f"{order.asset} {order.venue_order_id}", asset=order.asset, **ids)
        try:
            await self.venue.cancel(OrderRef(asset=order.asset, **ids))
        except (NotSent, OutcomeUnknown) as bad:
            # The next look shows whether it still works; a second cancel does no harm.
            self._step("cancel unanswered", str(bad), **ids)

    async def _close(self, position: PositionReport) -> bool:
        """Send one order for a position; False when what became of it cannot be found out."""
        if self._rejects.get(position.asset, 0) >= REJECTS_MAX:
            return True
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
        except OutcomeUnknown as bad:
            self._step("unknown", f"{bad}; asked about, not sent again", **ids)
            return await self._ended(order)
        return await self._answered(order, events)

    def _new_id(self, asset: str) -> str:
        self._sent += 1
        return PREFIX + client_order_id(*self._origin, asset, self._sent)[: 32 - len(PREFIX)]

    async def _answered(self, order: SubmitOrder, events: tuple[VenueEvent, ...]) -> bool:
        for event in events:
            if event.kind is KernelEventKind.ORDER_REJECT:
                why = RejectReason(event.reject).name
                self._rejects[order.asset] = self._rejects.get(order.asset, 0) + 1
                self._step("rejected", f"{order.asset}: {why}", asset=order.asset)
                return True
            if event.kind is KernelEventKind.RATE_LIMITED:
                self._step("rate limited", f"wait {event.retry_after_ms} ms", asset=order.asset)
                await asyncio.sleep(max(event.retry_after_ms / 1000, PAUSE_MIN_S))
                return True
        return await self._ended(order)

    async def _ended(self, order: SubmitOrder) -> bool:
        """Ask until the order has ended or is proven absent; False when the time is up before."""
        ref = OrderRef(asset=order.asset, client_order_id=order.client_order_id)
        now_ms = await self._answer(self.venue.server_time_ms)
        proof = AbsenceProof(
            ref, order.side, now_ms, self.venue.receive_window_ms, self.absence_fence_ms
        )
        pause_s = PAUSE_MIN_S
        while not self._late:
            try:
                report = await self._look_for(ref, proof)
            except QueryFailed as bad:
                proof.failed()
                self.say(f"no answer ({bad}); asked again")
            else:
                if report is not None and report.status in ENDED_STATUSES:
                    filled = format_quantity(report.filled_e8)
                    told = f"{report.status.name}, {filled} of {order.asset}"
                    self._step("ended", told, client_order_id=order.client_order_id)
                    return True
                if report is None and proof.verdict is Verdict.PROVEN:
                    told = f"{order.asset}: it never reached the exchange"
                    self._step("absent", told, client_order_id=order.client_order_id)
                    return True
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        return False

    async def _look_for(self, ref: OrderRef, proof: AbsenceProof) -> OrderReport | None:
        report = await self.venue.order(ref)
        if report is not None:
            return report
        now_ms = await self.venue.server_time_ms()
        since_ms = max(1, now_ms - LOOK_BACK_MS)
        proof.server_time(now_ms)
        proof.order(await self.venue.order(ref))
        proof.open_orders(await self.venue.open_orders(ref.asset))
        proof.all_orders(await self.venue.all_orders(ref.asset, since_ms))
        proof.fills(await self.venue.fills(ref.asset, since_ms))
        return proof.report
