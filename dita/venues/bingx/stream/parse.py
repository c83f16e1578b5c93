"""From the frames of BingX's user stream to venue events, exactly or not at all.

Called for every frame, in the order of arrival.  It keeps a little memory of orders and settings so
that no figure is taken for what it may not be; it does no I/O and reads no clock (dossier §3).
"""

from __future__ import annotations

from typing import Final

from dita.contracts import (
    BalanceReason,
    KernelEventKind,
    OrderSide,
    PositionSide,
    Record,
    VenueEvent,
)
from dita.units import plain_price, plain_quantity
from dita.venues import UnreadableRow
from dita.venues.bingx.rest.parse import signed_amount
from dita.venues.bingx.rows import ESCAPED, id_seen, symbol_seen, why_of
from dita.venues.bingx.stream.messages import (
    AccountBody,
    ConfigBody,
    Frame,
    OrderBody,
    PositionBody,
    WalletRow,
)
from dita.venues.bingx.values import (
    POSITION_SIDES,
    SIDES,
    UnreadableValue,
    is_absent,
    read_client_id,
    read_id,
    read_leverage,
    read_money,
    read_ms,
    read_name,
    read_position_side,
    read_price,
    read_quantity,
    read_symbol,
    unreadable,
)

#: Orders of which the smallest filled quantity is remembered, in each of two generations.
ORDERS_REMEMBERED: Final = 4_096
#: Symbols whose settings are remembered: BingX repeats them every 5 s for each symbol.
SYMBOLS_REMEMBERED: Final = 4_096
#: A position in a frame may lack what happened this shortly before: it counts as that much older,
#: so that it never contradicts a fresh fill (design §7 has the same margin for the wallet).
POSITION_MARGIN_MS: Final = 2_000

_ACK: Final = KernelEventKind.ORDER_ACK
_PARTIAL: Final = KernelEventKind.PARTIAL_FILL
_FULL: Final = KernelEventKind.FULL_FILL

#: Status words of the stream.  What was filled is read from ``z`` alone, whatever they say.
_KINDS: Final[dict[str, KernelEventKind]] = {
    "NEW": _ACK,
    "PENDING": _ACK,
    "WORKING": _ACK,
    "PARTIALLY_FILLED": _PARTIAL,
    "FILLED": _FULL,
    "CANCELED": KernelEventKind.CANCEL_ACK,
    "CANCELLED": KernelEventKind.CANCEL_ACK,
    "EXPIRED": KernelEventKind.ORDER_EXPIRED,
    "FAILED": KernelEventKind.ORDER_REJECT,
}
#: Types of a forced close, which give the event its kind; any other type says nothing that counts.
_FORCED: Final[dict[str, KernelEventKind]] = {
    "LIQUIDATION": KernelEventKind.LIQUIDATION,
    "ADL": KernelEventKind.ADL,
}
_REASONS: Final[dict[str, BalanceReason]] = {
    "ORDER": BalanceReason.ORDER,
    "FUNDING_FEE": BalanceReason.FUNDING,
    "DEPOSIT": BalanceReason.TRANSFER,
    "WITHDRAW": BalanceReason.TRANSFER,
    "ASSET_TRANSFER": BalanceReason.TRANSFER,
}


class ConfigChange(Record, frozen=True):
    """Leverage or margin type of a symbol, as the venue has it now.

    A leverage of 0 is not known; an empty asset means that the settings of any symbol may have
    changed.
    """

    asset: str
    long_leverage: int
    short_leverage: int
    margin_type: str


class ParsedFrame(Record, frozen=True):
    """What a frame says.

    ``doubtful`` names symbols whose position has to be asked for: the frame told of it in a way
    that is not certain.  ``odd`` is what could not be read of it.
    """

    events: tuple[VenueEvent, ...] = ()
    doubtful: tuple[str, ...] = ()
    config: ConfigChange | None = None
    odd: tuple[UnreadableRow, ...] = ()


NOTHING: Final = ParsedFrame()


class UserEvents:
    """Reads the frames of one account.  ``asset`` is its margin asset, ``hedge`` its mode."""

    def __init__(self, asset: str = "USDT", hedge: bool = False) -> None:
        self._asset = asset
        self._hedge = hedge
        self._position_sides = {w: s for w, s in POSITION_SIDES.items() if s or not hedge}
        self._smallest: dict[str, int] = {}
        self._smallest_old: dict[str, int] = {}
        self._configs: dict[str, ConfigChange] = {}
        self._symbols: dict[str, str] = {}  # those that were read before

    def read(self, frame: Frame, received_ms: int) -> ParsedFrame:
        """What the frame says; by its body, not by its name (dossier §3.2).

        A part that cannot be read is in ``odd`` and leads to a question about the order or the
        symbol that it may concern.  UnreadableValue when it may concern anything.
        """
        if frame.o is not None:
            try:
                return ParsedFrame((self.order(frame.o, frame.E, received_ms),))
            except UnreadableValue as bad:
                return _odd_order(frame.o, bad, received_ms)
        if frame.a is not None:
            return self._account(frame.a, frame.E, received_ms)
        if frame.ac is not None:
            return self._config(frame.ac)
        if frame.e in ("ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"):
            raise unreadable("frame", frame.e, "its body")
        return NOTHING

    # -- orders --

    def order(self, o: OrderBody, sent: object, received_ms: int) -> VenueEvent:
        """An ORDER_TRADE_UPDATE, in one piece: every call in here would count.

        The identity is the order id, and the client id when it is not empty.  A fill is a
        cumulative quantity above 0, the price the venue's own average.  A status that claims a fill
        without a quantity is ORDER_UNKNOWN: the order has to be asked for.
        """
        try:
            kind, side = _KINDS[o.status], SIDES[o.side]
            position_side = self._position_sides[o.position_side]
            symbol, seen = self._symbols[o.symbol], self._smallest.get(o.order_id)
        except (KeyError, TypeError):
            seen = None
            kind, side, position_side, symbol = self._words(o)
        forced = _FORCED.get(o.type) if o.type.__class__ is str else None
        venue_id = o.order_id  # as it is when it is known
        if seen is None:
            venue_id = read_id(o.order_id, "i")
            seen = self._smallest.get(venue_id)
        client_id = "" if o.client_order_id == "" else read_client_id(o.client_order_id, "c")
        if not venue_id and not client_id:
            raise unreadable("i", o.order_id, "an order id")
        exchange_ms = read_ms(o.trade_time, "T") if o.trade_time else 0
        if not exchange_ms:
            exchange_ms = read_ms(sent, "E")
        # Most numbers are plain; the readers know the others, and say what is wrong.
        filled = plain_quantity(o.filled)
        if filled < 0:
            filled = 0 if is_absent(o.filled) else read_quantity(o.filled, "z")
        price = last_quantity = last_price = 0
        fee = realized = None
        if not filled:
            forced = None
            if kind is _PARTIAL or kind is _FULL:
                kind = KernelEventKind.ORDER_UNKNOWN
        else:
            if kind is _ACK or kind is _PARTIAL:
                # The kernel decides on the quantity whether it is all; this is only its name.
                kind = _FULL if o.quantity == o.filled else _PARTIAL
            price = plain_price(o.average_price)
            if price < 0:
                price = read_price(o.average_price, "ap")
            if seen is None or filled < seen:
                seen = self._remember(venue_id, filled)
            if o.last_quantity is not None and o.last_quantity != "":
                last_quantity = plain_quantity(o.last_quantity)
                if last_quantity < 0:
                    last_quantity = read_quantity(o.last_quantity, "l")
                last_price = plain_price(o.last_price)
                if last_price < 0:
                    last_price = read_price(o.last_price, "L")
                if not (0 < last_quantity <= filled and last_price):  # they make no sense
                    last_quantity = last_price = 0
                elif last_quantity == filled and (kind is _FULL or kind is _PARTIAL):
                    if seen < filled:  # then it was not one fill: l is not what it should be
                        last_quantity = last_price = 0
                    elif price and price != last_price:  # one fill has one price: neither is sure
                        last_quantity = last_price = price = 0
                    else:
                        fee, realized = self._figures(o)
        return VenueEvent(
            kind=forced or kind, received_ms=received_ms, exchange_ms=exchange_ms, asset=symbol,
            venue_order_id=venue_id, client_order_id=client_id, side=side, quantity_e8=filled,
            price_e10=price, last_quantity_e8=last_quantity, last_price_e10=last_price, fee=fee,
            realized=realized, position_side=position_side,
        )  # fmt: skip

    def _words(self, o: OrderBody) -> tuple[KernelEventKind, OrderSide, PositionSide, str]:
        """The same by way of the readers, which say what is wrong."""
        kind, side = read_name(_KINDS, o.status, "X"), read_name(SIDES, o.side, "S")
        position_side = read_position_side(o.position_side, "ps")
        if self._hedge and not position_side:
            raise unreadable("ps", o.position_side, "LONG or SHORT in hedge mode")
        symbol = read_symbol(o.symbol, "s")
        if len(self._symbols) >= SYMBOLS_REMEMBERED:
            self._symbols.clear()
        self._symbols[symbol] = symbol
        return kind, side, position_side, symbol

    def _figures(self, o: OrderBody) -> tuple[int | None, int | None]:
        """Fee (positive when paid) and realized of an order whose last fill is its only one.

        Whether ``n`` and ``rp`` are of the fill or of the order is not established (dossier §7).
        They are taken only where both readings are the same number: when the last fill is all that
        is filled, and no smaller quantity of this order was seen.  Else they are left to the order
        query and the fill history, which the kernel asks for at every order's end.
        """
        fee = read_money(o.fee, "n") if o.fee_asset == self._asset else None
        return (None if fee is None else -fee), read_money(o.realized, "rp")

    def _remember(self, venue_id: str, filled: int) -> int:
        """The smallest filled quantity of this order that was seen, this one included."""
        seen = self._smallest_old.get(venue_id, filled)
        if len(self._smallest) >= ORDERS_REMEMBERED:
            self._smallest_old, self._smallest = self._smallest, {}
        self._smallest[venue_id] = seen = min(seen, filled)
        return seen

    # -- account --

    def _account(self, a: AccountBody, sent: object, received_ms: int) -> ParsedFrame:
        odd: list[UnreadableRow] = []
        try:
            sent_ms = read_ms(sent, "E")
        except UnreadableValue as bad:  # without its time the wallet is nothing to go by
            odd.append(UnreadableRow(why=why_of(bad)))
            sent_ms = 0
        events = self._wallet(a, sent_ms, received_ms, odd) if not odd else []
        if not a.P:  # a missing position is not a flat one (dossier §3.4)
            return ParsedFrame(tuple(events), odd=tuple(odd))
        positions, doubtful = self._positions(a.P, sent_ms, received_ms, odd)
        return ParsedFrame((*events, *positions), doubtful, odd=tuple(odd))

    def _wallet(
        self, a: AccountBody, sent_ms: int, received_ms: int, odd: list[UnreadableRow]
    ) -> list[VenueEvent]:
        row = next((row for row in a.B or () if row.a == self._asset), WalletRow())
        try:
            wallet = read_money(row.wb, "wb")
        except UnreadableValue as bad:
            odd.append(UnreadableRow(asset=self._asset, why=why_of(bad)))
            return []
        if wallet is None:
            return []
        reason = _REASONS.get(a.m) if type(a.m) is str else None
        event = VenueEvent(
            kind=KernelEventKind.ACCOUNT_UPDATE,
            received_ms=received_ms,
            exchange_ms=sent_ms,
            amount=wallet,
            balance_reason=reason or BalanceReason.UNKNOWN,
        )
        return [event]

    def _positions(
        self,
        rows: tuple[PositionBody, ...],
        sent_ms: int,
        received_ms: int,
        odd: list[UnreadableRow],
    ) -> tuple[list[VenueEvent], tuple[str, ...]]:
        told: dict[tuple[str, OrderSide], list[tuple[OrderSide, int] | None]] = {}
        for row in rows:
            try:
                symbol = read_symbol(row.s, "s")
            except UnreadableValue as bad:
                odd.append(UnreadableRow(asset=symbol_seen(row.s), why=why_of(bad)))
                continue
            try:
                found = self._direction(row)
            except UnreadableValue as bad:
                odd.append(UnreadableRow(asset=symbol, why=why_of(bad)))
                found = None
            key = (symbol, found[0] if found and self._hedge else OrderSide.UNKNOWN)
            told.setdefault(key, []).append(found)
        events: list[VenueEvent] = []
        doubtful: dict[str, None] = {}
        for (symbol, _), found_rows in told.items():
            # In one-way mode a flat side beside an open one says nothing of its own.
            open_rows = [found for found in found_rows if found is None or found[1]]
            only = open_rows[0] if open_rows else found_rows[0]
            if len(open_rows) > 1 or only is None or not sent_ms:
                doubtful[symbol] = None
                continue
            event = VenueEvent(
                kind=KernelEventKind.POSITION,
                received_ms=received_ms,
                exchange_ms=max(sent_ms - POSITION_MARGIN_MS, 1),
                asset=symbol,
                side=only[0] if only[1] or self._hedge else OrderSide.UNKNOWN,
                quantity_e8=only[1],
            )
            events.append(event)
        certain = [event for event in events if event.asset not in doubtful]
        return certain, tuple(doubtful)

    def _direction(self, row: PositionBody) -> tuple[OrderSide, int] | None:
        """(direction, quantity); None when it is not certain.

        The sign under BOTH is not established: a minus can only mean short, a plus may be either.
        """
        word = read_name(POSITION_SIDES, row.ps, "ps")
        if is_absent(row.pa):
            return None
        quantity, negative = signed_amount(row.pa, "pa")
        side = OrderSide(int(word))
        if side is OrderSide.UNKNOWN:
            if self._hedge or (quantity and not negative):
                return None
            return OrderSide.SELL, quantity
        if negative and side is OrderSide.BUY:
            return None
        return side, quantity

    # -- settings --

    def _config(self, ac: ConfigBody) -> ParsedFrame:
        try:
            change = ConfigChange(
                read_symbol(ac.symbol, "s"),
                read_leverage(ac.long_leverage, "l"),
                read_leverage(ac.short_leverage, "S"),
                read_client_id(ac.margin_type, "mt"),
            )
        except UnreadableValue as bad:
            symbol = symbol_seen(ac.symbol)
            odd = (UnreadableRow(asset=symbol, why=why_of(bad)),)
            # Whatever was believed of its settings is void; a symbol outside ASCII is none of ours.
            change = ConfigChange("" if ESCAPED in symbol else symbol, 0, 0, "")
            return ParsedFrame(config=None if ESCAPED in symbol else change, odd=odd)
        if self._configs.get(change.asset) == change:
            return NOTHING
        if len(self._configs) >= SYMBOLS_REMEMBERED:
            self._configs.clear()
        self._configs[change.asset] = change
        return ParsedFrame(config=change)


def _odd_order(o: OrderBody, bad: UnreadableValue, received_ms: int) -> ParsedFrame:
    """An order's frame that cannot be read: the order and its symbol's position are asked for.

    UnreadableValue when it says neither which order nor which symbol it is about.
    """
    symbol, venue_id = symbol_seen(o.symbol), id_seen(o.order_id)
    if not symbol and not venue_id:
        raise bad
    row = UnreadableRow(asset=symbol, venue_order_id=venue_id, why=why_of(bad))
    if ESCAPED in symbol:  # outside ASCII: none of ours
        return ParsedFrame(odd=(row,))
    events: tuple[VenueEvent, ...] = ()
    if venue_id and ESCAPED not in venue_id:
        event = VenueEvent(
            kind=KernelEventKind.ORDER_UNKNOWN,
            received_ms=received_ms,
            asset=symbol,
            venue_order_id=venue_id,
        )
        events = (event,)
    return ParsedFrame(events, (symbol,) if symbol else (), odd=(row,))
