"""The two views as plain records, and the lines of a comparison.

The runtime fills the views in from the kernel and from a venue's answers; the rest of the package
compares them.  Nothing here knows where they come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from dita.contracts import (
    DriftCause,
    OrderRole,
    OrderSide,
    Record,
    TradeSide,
    VenueOrderStatus,
)

# -- the two views ---------------------------------------------------------------------------------


class OurOrder(Record, frozen=True, kw_only=True):
    """An order of our journal; ``slot_id`` is -1 when its trade has left its slot."""

    order_no: int
    slot_id: int
    trade_id: str
    asset: str
    client_order_id: str
    venue_order_id: str
    side: OrderSide
    role: OrderRole
    status: VenueOrderStatus
    final: bool
    intended_e8: int
    filled_e8: int


class OurPosition(Record, frozen=True, kw_only=True):
    """What a slot holds; ``in_doubt`` while it waits for the exchange's word on its size."""

    slot_id: int
    trade_id: str
    asset: str
    side: TradeSide
    size_e8: int
    in_flight: bool
    in_doubt: bool
    missing_e8: int = 0  # gone without any record: only a person's write-off is left


class OurMoney(Record, frozen=True, kw_only=True):
    """The account in 10^-18: newest anchor, published capital, checksum K, drift by cause.

    Two figures of the exchange that are less than ``digit`` apart may be the same wallet.
    """

    wallet: int
    capital: int
    k_capital: int
    causes: Mapping[DriftCause, int]
    digit: int = 0


class OurView(Record, frozen=True, kw_only=True):
    """What the journal says: orders that are not terminal, slots in use, money."""

    namespace: str
    epoch: int
    hedge: bool
    orders: tuple[OurOrder, ...]
    positions: tuple[OurPosition, ...]
    money: OurMoney


class TheirOrder(Record, frozen=True, kw_only=True):
    """An order of the exchange's records."""

    client_order_id: str
    venue_order_id: str
    asset: str
    side: OrderSide
    status: VenueOrderStatus
    quantity_e8: int
    filled_e8: int


class TheirPosition(Record, frozen=True, kw_only=True):
    """A position of the exchange's: unsigned quantity, ``side`` its direction."""

    asset: str
    side: OrderSide
    quantity_e8: int
    entry_price_e10: int
    leverage: int


class TheirView(Record, frozen=True, kw_only=True):
    """What the exchange answered: working orders of the symbols asked about, ours of which we asked
    by id, positions, wallet."""

    assets: tuple[str, ...]
    open_orders: tuple[TheirOrder, ...]
    looked_up: tuple[TheirOrder, ...]
    positions: tuple[TheirPosition, ...]
    wallet: int
    available_margin: int


# -- what a comparison says ------------------------------------------------------------------------


class Level(StrEnum):
    """What is set side by side."""

    ORDER = "order"
    POSITION = "position"
    MONEY = "money"


class Cause(StrEnum):
    """Why our view and the exchange's differ."""

    # orders
    UNANSWERED = "order unanswered"  # sent, no answer, and not found so far
    FOUND = "answer lost, order found"
    LOST = "order lost"  # it worked, and the exchange does not know it any more
    ENDED = "end not seen"
    FILL_MISSED = "fill not seen"
    FILL_AHEAD = "exchange's record lags"
    STILL_WORKS = "ended here, works there"
    REVIVED = "final here, works there"
    SIZE_CUT = "size cut by the exchange"
    FINAL_NOT_READ = "final not read"
    FOREIGN_ORDER = "foreign order"
    SECOND_KERNEL = "order of another kernel"
    # positions
    IN_FLIGHT = "order in flight"
    IN_DOUBT = "slot in doubt, sizes agree"
    CLOSED_OUTSIDE = "position closed outside"
    REDUCED_OUTSIDE = "position reduced outside"
    GONE = "position gone without a record"
    FOREIGN_EXCESS = "more than ours"
    OPPOSITE = "opposite direction"
    FOREIGN_POSITION = "position foreign"
    # money
    NOT_SEEDED = "no balance taken yet"
    WALLET_MOVED = "wallet moved since"
    SETTLING = "settling"
    PENDING_FEE = "fee still estimated"
    UNSETTLED_FILL = "fill without a price"
    FUNDING_UNREAD = "funding to be read"
    TRANSFER_UNREAD = "transfer to be read"
    FOREIGN_ACTIVITY = "foreign activity"
    ROUNDING = "rounding"
    PENDING = "pending"
    UNEXPLAINED = "unexplained"


#: Explained by something that is known, and settled by time or not ours: nobody has to act.
REMARKS = frozenset(
    {
        Cause.SIZE_CUT,
        Cause.FOREIGN_ORDER,
        Cause.PENDING_FEE,
        Cause.FUNDING_UNREAD,
        Cause.TRANSFER_UNREAD,
        Cause.ROUNDING,
    }
)


class Row(Record, frozen=True, kw_only=True):
    """One line side by side; ``cause`` is None where both sides agree.

    ``amount`` is the row's part of the difference in money, 10^-18; 0 on other levels.
    """

    level: Level
    asset: str
    name: str
    ours: str
    theirs: str
    cause: Cause | None = None
    amount: int = 0
    slot_id: int = -1
    trade_id: str = ""
    order_no: int = 0
    side: OrderSide = OrderSide.UNKNOWN
    quantity_e8: int = 0
    missing_e8: int = 0


class Comparison(Record, frozen=True, kw_only=True):
    """Every row, and the wallet less our checksum."""

    rows: tuple[Row, ...]
    difference: int

    @property
    def differences(self) -> tuple[Row, ...]:
        """The rows that differ.  Rounding is bounded by definition, and shown only."""
        return tuple(row for row in self.rows if row.cause and row.cause is not Cause.ROUNDING)

    @property
    def to_settle(self) -> tuple[Row, ...]:
        """The differences that are more than a remark."""
        return tuple(row for row in self.differences if row.cause not in REMARKS)
