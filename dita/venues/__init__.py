"""What the runtime may ask of a venue, and what a venue answers: one async protocol.

Adapters (``mock``, ``bingx``) implement it; the runtime is the only caller.  A venue speaks
of orders, fills, positions and balances as it knows them, never of slots, trades or money of ours.
An answer that is lost, late or unreadable is an ``OutcomeUnknown``, never a rejection, and a query
that failed raises: it is never an empty answer (design P3).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import IntEnum
from typing import Any, Protocol

from dita.contracts import (
    ContractRules,
    OrderSide,
    OrderType,
    Record,
    VenueEvent,
    VenueOrderStatus,
)
from dita.errors import VenueError


class NotSent(VenueError):
    """No byte of the request left this machine: it is proven not executed."""


class OutcomeUnknown(VenueError):
    """The request may or may not have been executed; only evidence can tell."""


class UnknownSymbol(VenueError):
    """The venue does not list the symbol."""


class AccessRefused(VenueError):
    """Key, signature, permission or address was refused: nothing works until somebody mends it."""


class QueryFailed(VenueError):
    """A question got no answer, or a partial one: nothing follows from it."""


class SubmitOrder(Record, frozen=True, kw_only=True):
    """An order to send.  ``reduce_only`` is set on every exit; in hedge mode, where the venue does
    not take it, the adapter turns it into the position side (an exit's is opposite to its side)."""

    client_order_id: str
    asset: str
    side: OrderSide
    order_type: OrderType
    quantity_e8: int
    limit_price_e10: int = 0
    reduce_only: bool = False
    leverage: int = 1


class OrderRef(Record, frozen=True, kw_only=True):
    """Which order is meant: by client id, and by venue id where it is known."""

    asset: str
    client_order_id: str
    venue_order_id: str = ""


class OrderReport(Record, frozen=True, kw_only=True):
    """An order as the venue's own records have it.  ``average_price_e10`` is true or 0."""

    client_order_id: str
    venue_order_id: str
    asset: str
    side: OrderSide
    order_type: OrderType
    status: VenueOrderStatus
    quantity_e8: int
    filled_e8: int
    average_price_e10: int
    fee: int | None
    realized: int | None
    updated_ms: int


class FillReport(Record, frozen=True, kw_only=True):
    """One fill of the venue's fill history."""

    fill_id: str
    client_order_id: str
    venue_order_id: str
    asset: str
    side: OrderSide
    quantity_e8: int
    price_e10: int
    fee: int
    filled_ms: int


class PositionReport(Record, frozen=True, kw_only=True):
    """A position; ``quantity_e8`` is unsigned, ``side`` its direction.  Flat: no report."""

    asset: str
    side: OrderSide
    quantity_e8: int
    average_price_e10: int
    leverage: int
    updated_ms: int


class BalanceReport(Record, frozen=True, kw_only=True):
    """The wallet, with the times between which it was true."""

    wallet: int
    available_margin: int
    requested_ms: int
    answered_ms: int


class IncomeKind(IntEnum):
    """What an income row is about."""

    REALIZED = 1
    FEE = 2
    FUNDING = 3
    TRANSFER = 4
    INSURANCE = 5  # what the insurance fund bore of a liquidation
    ADL = 6
    OTHER = 7  # the venue's own doing: deductions, trial funds, price guarantees


class IncomeReport(Record, frozen=True, kw_only=True):
    """One row of the income history; ``amount`` is signed as its effect on the account."""

    income_id: str
    kind: IncomeKind
    asset: str
    amount: int
    trade_id: str
    time_ms: int


class Venue(Protocol):
    """The async protocol.  All times are the venue's, in milliseconds; all texts are ASCII."""

    #: Longest time for which the venue accepts a signed request after its timestamp.
    receive_window_ms: int

    async def connect(self) -> None:
        """Open what is needed.  VenueError when the venue cannot be reached; AccessRefused when it
        refuses us, which trying again does not mend."""

    async def close(self) -> None:
        """Let go of everything; safe to call twice."""

    async def server_time_ms(self) -> int:
        """The venue's clock.  QueryFailed."""

    async def contract(self, asset: str) -> ContractRules:
        """Trading rules of a symbol.  QueryFailed; UnknownSymbol."""

    async def price(self, asset: str) -> int:
        """About what the symbol costs now, in 10^-10, above 0: for sizes and for looking at, never
        for money.  QueryFailed; UnknownSymbol."""

    async def submit(self, order: SubmitOrder) -> tuple[VenueEvent, ...]:
        """Send an order once, never again by itself.

        The events are what the answer says (ORDER_ACK, ORDER_REJECT, RATE_LIMITED); fills may be in
        it or come on the stream.  NotSent, OutcomeUnknown.
        """

    async def cancel(self, order: OrderRef) -> tuple[VenueEvent, ...]:
        """Ask for a cancel.  An answer proves nothing: CANCEL_REJECT, or no event at all; the end
        itself is reported by the stream or found by a query.  NotSent, OutcomeUnknown."""

    async def order(self, order: OrderRef) -> OrderReport | None:
        """The order by its ids; None when the venue does not know it.  QueryFailed."""

    async def open_orders(self, asset: str) -> tuple[OrderReport, ...]:
        """Orders of a symbol that work.  QueryFailed."""

    # In the three questions about history a time of 0 leaves the start to the venue: what it shows
    # by itself (BingX: the last seven days).  A time before its oldest record is a QueryFailed.

    async def all_orders(self, asset: str, since_ms: int) -> tuple[OrderReport, ...]:
        """Orders of a symbol in any state, since a time.  QueryFailed."""

    async def fills(self, asset: str, since_ms: int) -> tuple[FillReport, ...]:
        """Fills of a symbol since a time, oldest first.  QueryFailed."""

    async def positions(self) -> tuple[PositionReport, ...]:
        """Every position that is not flat.  QueryFailed: never taken for flat."""

    async def balance(self) -> BalanceReport:
        """The wallet.  QueryFailed."""

    async def income(self, since_ms: int) -> tuple[IncomeReport, ...]:
        """Income rows since a time, oldest first.  QueryFailed."""

    def events(self) -> AsyncIterator[VenueEvent]:
        """The stream of events, from connect to close.  It ends when the stream is lost; whoever
        iterates has to ask about everything again before trusting it (design §8)."""

    def symbols(self) -> tuple[str, ...]:
        """What is listed, as far as it was read; for somebody who types a symbol."""

    def health(self) -> dict[str, Any]:
        """How the way to the venue does, in plain values, for an operator; {}: nothing to say.

        ``requests``, ``waits``, ``waited_ms``, ``blocks`` and ``blocked_ms`` by endpoint,
        ``refusals`` in the venue's words, newest last, ``gaps`` of the stream by cause, ``trouble``
        (its latest), ``refresh_failures``.  Counted since the start.
        """
