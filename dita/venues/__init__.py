"""What the runtime may ask of a venue, and what a venue answers: one async protocol.

Adapters (``mock``, ``bingx``) implement it; the runtime is the only caller.  A venue speaks
of orders, fills, positions and balances as it knows them, never of slots, trades or money of ours.
An answer that is lost, late or unreadable is an ``OutcomeUnknown``, never a rejection, and a query
that failed raises: it is never an empty answer (design P3).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from enum import IntEnum
from typing import Any, Protocol, Self, TypeVar

from dita.contracts import (
    ContractRules,
    OrderSide,
    OrderType,
    PositionSide,
    Record,
    VenueEvent,
    VenueOrderStatus,
)
from dita.errors import VenueError
from dita.identity import plain_symbol

T_co = TypeVar("T_co", covariant=True)


class _Answered(VenueError):
    """An error with the venue's number in ``error_code``; 0 when there is none."""

    def __init__(
        self,
        what: str,
        *,
        error_code: int = 0,
        expected: str = "",
        found: str = "",
        action: str = "",
    ) -> None:
        super().__init__(what, expected=expected, found=found, action=action)
        self.error_code = error_code


class NotSent(_Answered):
    """The request is proven not executed: no byte left this machine, or the venue ignored it.

    Its text says why in words for a person; it is the ``message`` of the rejection that follows.
    """


class OutcomeUnknown(_Answered):
    """The request may or may not have been executed; only evidence can tell."""


class UnknownSymbol(VenueError):
    """The venue does not list the symbol."""


class AccessRefused(_Answered):
    """Key, signature, permission or address was refused: nothing works until somebody mends it.

    Nothing was executed: access is checked before anything else.
    """


class QueryFailed(VenueError):
    """A question got no answer, or a partial one: nothing follows from it."""


class UnreadableRow(Record, frozen=True, kw_only=True):
    """A row of an answer that cannot be read, with as much of it as could be.

    An empty text means that this part is not known: the row may be about any symbol, any order.
    """

    asset: str = ""
    venue_order_id: str = ""
    client_order_id: str = ""
    why: str

    def may_concern(self, asset: str) -> bool:
        """Returns whether the row may be about a symbol."""
        return not self.asset or plain_symbol(self.asset) == plain_symbol(asset)

    def is_of(self, order: OrderRef) -> bool | None:
        """Returns whether the row is about an order; None when that cannot be told."""
        if order.venue_order_id and self.venue_order_id:
            return self.venue_order_id == order.venue_order_id
        if order.client_order_id and self.client_order_id:
            return self.client_order_id.lower() == order.client_order_id.lower()
        return None if self.may_concern(order.asset) else False


class Rows(tuple[T_co, ...]):
    """The rows of an answer, with those that cannot be read beside them.

    A row that is missing from the readable ones proves nothing while an unreadable one may be it.
    Callers that conclude something from absence ask ``about`` or ``whole`` for the rows, or use the
    functions in ``evidence`` and ``absence``, which look at ``unreadable`` themselves.
    """

    unreadable: tuple[UnreadableRow, ...]

    def __new__(cls, rows: Iterable[T_co] = (), unreadable: Iterable[UnreadableRow] = ()) -> Self:
        """Build from readable and unreadable rows."""
        made = super().__new__(cls, rows)
        made.unreadable = tuple(unreadable)
        return made

    def about(self, asset: str) -> Self:
        """Returns itself when every row about the symbol is readable.  QueryFailed."""
        _refuse(tuple(row for row in self.unreadable if row.may_concern(asset)))
        return self

    def whole(self) -> Self:
        """Returns itself when every row is readable.  QueryFailed."""
        _refuse(self.unreadable)
        return self


def unreadable_in(rows: Iterable[object]) -> tuple[UnreadableRow, ...]:
    """Returns the unreadable rows of an answer; a plain tuple has none."""
    return rows.unreadable if isinstance(rows, Rows) else ()


def _refuse(rows: tuple[UnreadableRow, ...]) -> None:
    if rows:
        row = rows[0]
        name = row.client_order_id or row.venue_order_id
        about = f"{row.asset or 'an unknown symbol'} {name}".rstrip()
        raise QueryFailed(
            f"a row about {about} cannot be read",
            expected="rows of the documented shape",
            found=f"{len(rows)} unreadable, the first: {row.why}",
        )


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
    """An order as the venue's own records have it.  ``average_price_e10`` is true or 0.

    ``order_type`` is None for a type that we do not know.
    """

    client_order_id: str
    venue_order_id: str
    asset: str
    side: OrderSide
    order_type: OrderType | None
    status: VenueOrderStatus
    quantity_e8: int
    filled_e8: int
    average_price_e10: int
    fee: int | None
    realized: int | None
    updated_ms: int
    position_side: PositionSide = PositionSide.UNKNOWN


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
    position_side: PositionSide = PositionSide.UNKNOWN


class PositionReport(Record, frozen=True, kw_only=True):
    """A position; ``quantity_e8`` is unsigned, ``side`` its direction.  Flat: no report.

    A price of 0 and None are unknown.  ``available_e8`` is what no order and no stop of the venue's
    own screen has locked: an exit for more is refused.
    """

    asset: str
    side: OrderSide
    quantity_e8: int
    average_price_e10: int
    leverage: int
    updated_ms: int
    mark_price_e10: int = 0
    liquidation_price_e10: int = 0
    unrealized: int | None = None
    available_e8: int | None = None


class BalanceReport(Record, frozen=True, kw_only=True):
    """The wallet, with the times between which it was true."""

    wallet: int
    available_margin: int
    requested_ms: int
    answered_ms: int


class StreamState(Record, frozen=True, kw_only=True):
    """How the stream of events does.  ``silent_ms`` counts since the last frame of any kind, one
    that says nothing included; -1 when there was none.  ``trouble`` is why it is not connected, ""
    while it is."""

    connected: bool
    silent_ms: int = -1
    trouble: str = ""


class IncomeKind(IntEnum):
    """What an income row is about."""

    REALIZED = 1
    FEE = 2
    FUNDING = 3
    TRANSFER = 4
    INSURANCE = 5  # what the insurance fund bore of a liquidation
    ADL = 6
    OTHER = 7  # the venue's own doing: deductions, trial funds, price guarantees
    UNKNOWN = 8  # a word that we do not know


class IncomeReport(Record, frozen=True, kw_only=True):
    """One row of the income history; ``amount`` is signed as its effect on the account.

    ``word`` is the venue's own name for the kind.
    """

    income_id: str
    kind: IncomeKind
    asset: str
    amount: int
    trade_id: str
    time_ms: int
    word: str = ""


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
        it or come on the stream.  A rejection carries the venue's number and its words.  NotSent,
        OutcomeUnknown, AccessRefused.
        """

    async def cancel(self, order: OrderRef) -> tuple[VenueEvent, ...]:
        """Ask for a cancel.  An answer proves nothing: CANCEL_REJECT, or no event at all; the end
        itself is reported by the stream or found by a query.  NotSent, OutcomeUnknown."""

    async def order(self, order: OrderRef) -> OrderReport | None:
        """The order by its ids; None when the venue does not know it.  QueryFailed."""

    async def open_orders(self, asset: str) -> Rows[OrderReport]:
        """Orders of a symbol that work.  QueryFailed."""

    # The questions for lists fail as a whole only when nothing of the answer can be read; a row
    # that cannot be read is told beside the others (``Rows``).
    #
    # In the three questions about history a time of 0 leaves the start to the venue: what it shows
    # by itself (BingX: the last seven days).  A time before its oldest record is a QueryFailed.

    async def all_orders(self, asset: str, since_ms: int) -> Rows[OrderReport]:
        """Orders of a symbol in any state, since a time.  QueryFailed."""

    async def fills(self, asset: str, since_ms: int) -> Rows[FillReport]:
        """Fills of a symbol since a time, oldest first.  QueryFailed."""

    async def positions(self) -> Rows[PositionReport]:
        """Every position that is not flat.  QueryFailed: never taken for flat."""

    async def balance(self) -> BalanceReport:
        """The wallet.  QueryFailed."""

    async def income(self, since_ms: int) -> Rows[IncomeReport]:
        """Income rows since a time, oldest first.  QueryFailed."""

    def events(self) -> AsyncIterator[VenueEvent]:
        """The stream of events, from connect to close.  It ends when the stream is lost; whoever
        iterates has to ask about everything again before trusting it (design §8)."""

    def symbols(self) -> tuple[str, ...]:
        """What is listed, as far as it was read; for somebody who types a symbol."""

    def stream_state(self) -> StreamState:
        """Is the stream heard now?  Asks nobody."""

    async def renew_access(self) -> None:
        """Read the keys again, so that they can be rotated without a restart; no network.

        SettingsError when they cannot be read: the ones before stay in use.
        """

    def health(self) -> dict[str, Any]:
        """How the way to the venue does, in plain values, for an operator; {}: nothing to say.

        ``requests``, ``waits``, ``waited_ms``, ``blocks`` and ``blocked_ms`` by endpoint,
        ``refusals`` in the venue's words, newest last, ``gaps`` of the stream by cause, ``trouble``
        (its latest), ``refresh_failures``; ``unreadable``: what could not be read, as question or
        frame with ``count`` and the newest ``why`` and ``about``; ``leverage``: what was changed
        behind our back, as ``asset``, ``side``, ``ours``, ``found``.  Counted since the start.
        """
