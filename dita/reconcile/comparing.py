"""Orders, positions and money side by side, each difference with its cause.

Pure and deterministic: equal views give equal rows, whatever order the answers came in.  A
difference without a named cause does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from dita.contracts import ENDED_STATUSES, DriftCause, OrderSide, VenueOrderStatus
from dita.identity import plain_symbol
from dita.reconcile.views import (
    Cause,
    Comparison,
    Level,
    OurMoney,
    OurOrder,
    OurPosition,
    OurView,
    Row,
    TheirOrder,
    TheirPosition,
    TheirView,
)
from dita.units import format_money, format_quantity

#: The shape of a client order id of a kernel like this one (design P2).
OWN_ID: Final = re.compile(r"[a-z2-7]{32}")

#: What a flow that was booked after the anchor may have been, likeliest first.
_SETTLED_BY_FLOWS: Final = (
    Cause.WALLET_MOVED,
    Cause.PENDING,
    Cause.UNEXPLAINED,
    Cause.PENDING_FEE,
    Cause.UNSETTLED_FILL,
    Cause.FUNDING_UNREAD,
    Cause.TRANSFER_UNREAD,
    Cause.FOREIGN_ACTIVITY,
    Cause.ROUNDING,
)
_DRIFT: Final[dict[DriftCause, Cause]] = {each: Cause[each.name] for each in DriftCause}


def compare(ours: OurView, theirs: TheirView) -> Comparison:
    """Set orders, positions and money side by side."""
    rows = (*_orders(ours, theirs), *_positions(ours, theirs), *_money(ours.money, theirs))
    return Comparison(rows=rows, difference=theirs.wallet - ours.money.k_capital)


# -- orders ----------------------------------------------------------------------------------------


def _orders(ours: OurView, theirs: TheirView) -> Iterator[Row]:
    by_venue, by_client = _index(theirs)
    matched: set[int] = set()
    for order in sorted(ours.orders, key=lambda o: o.order_no):
        found = by_venue.get(order.venue_order_id) or by_client.get(order.client_order_id.lower())
        if found is not None:
            matched.add(id(found))
        yield Row(
            level=Level.ORDER,
            asset=order.asset,
            name=order.client_order_id or order.venue_order_id,
            ours=_told(order.status, order.filled_e8, order.intended_e8),
            theirs=_told(found.status, found.filled_e8, found.quantity_e8) if found else "–",
            cause=_order_cause(order, found),
            slot_id=order.slot_id,
            trade_id=order.trade_id,
            order_no=order.order_no,
            side=order.side,
        )
    strangers = [order for order in theirs.open_orders if id(order) not in matched]
    yield from (_stranger(order) for order in sorted(strangers, key=_order_key))


def _index(theirs: TheirView) -> tuple[dict[str, TheirOrder], dict[str, TheirOrder]]:
    # An order that is both in the list and looked up is the one of the list.
    by_venue: dict[str, TheirOrder] = {}
    by_client: dict[str, TheirOrder] = {}
    for order in (*theirs.looked_up, *theirs.open_orders):
        if order.venue_order_id:
            by_venue[order.venue_order_id] = order
        if order.client_order_id:
            by_client[order.client_order_id.lower()] = order
    return by_venue, by_client


def _order_key(order: TheirOrder) -> tuple[str, str, str]:
    return plain_symbol(order.asset), order.venue_order_id, order.client_order_id


def _told(status: VenueOrderStatus, filled_e8: int, quantity_e8: int) -> str:
    return f"{status.name} {format_quantity(filled_e8)}/{format_quantity(quantity_e8)}"


_NO_ANSWER: Final = (VenueOrderStatus.REQUESTED, VenueOrderStatus.UNKNOWN)


def _order_cause(ours: OurOrder, theirs: TheirOrder | None) -> Cause | None:
    ended = ours.status in ENDED_STATUSES
    if theirs is None:
        if ended:
            return None if ours.final else Cause.FINAL_NOT_READ
        return Cause.UNANSWERED if ours.status in _NO_ANSWER else Cause.LOST
    if ended and theirs.status not in ENDED_STATUSES:
        return Cause.REVIVED if ours.final else Cause.STILL_WORKS
    if ended:
        return None if ours.final else Cause.FINAL_NOT_READ
    if theirs.status in ENDED_STATUSES:
        return Cause.ENDED
    if ours.status in _NO_ANSWER:
        return Cause.FOUND
    if theirs.filled_e8 != ours.filled_e8:
        return Cause.FILL_MISSED if theirs.filled_e8 > ours.filled_e8 else Cause.FILL_AHEAD
    return Cause.SIZE_CUT if theirs.quantity_e8 != ours.intended_e8 else None


def _stranger(order: TheirOrder) -> Row:
    own_shape = OWN_ID.fullmatch(order.client_order_id.lower()) is not None
    return Row(
        level=Level.ORDER,
        asset=order.asset,
        name=order.client_order_id or order.venue_order_id,
        ours="–",
        theirs=_told(order.status, order.filled_e8, order.quantity_e8),
        cause=Cause.SECOND_KERNEL if own_shape else Cause.FOREIGN_ORDER,
        side=order.side,
        quantity_e8=order.quantity_e8,
    )


# -- positions -------------------------------------------------------------------------------------


def _positions(ours: OurView, theirs: TheirView) -> Iterator[Row]:
    # Quantity that came back late has a slot of its own, so a symbol may have two of ours.
    held: dict[tuple[str, int], list[OurPosition]] = {}
    for own in sorted(ours.positions, key=lambda p: p.slot_id):
        held.setdefault(_key(own.asset, own.side, ours.hedge), []).append(own)
    told = {_key(p.asset, p.side, ours.hedge): p for p in theirs.positions if p.quantity_e8}
    for key in sorted({*held, *told}):
        yield from _position(held.get(key, []), told.get(key))


def _position(own: list[OurPosition], other: TheirPosition | None) -> Iterator[Row]:
    mine = sum(p.size_e8 * p.side for p in own)
    seen = other.quantity_e8 * other.side if other else 0
    busy = any(p.in_flight or p.in_doubt for p in own)
    if not mine and not seen and not busy:
        return
    gone = next((p for p in own if p.missing_e8), None)
    first = gone or (own[0] if own else None)
    yield Row(
        level=Level.POSITION,
        asset=first.asset if first else other.asset if other else "",
        name=", ".join(p.trade_id for p in own),
        ours=_size(mine),
        theirs=_size(seen),
        cause=_position_cause(own, mine, seen),
        slot_id=first.slot_id if first else -1,
        trade_id=first.trade_id if first else "",
        side=other.side if other else OrderSide.UNKNOWN,
        quantity_e8=abs(seen),
        missing_e8=gone.missing_e8 if gone else 0,
    )


def _key(asset: str, side: int, hedge: bool) -> tuple[str, int]:
    return plain_symbol(asset), side if hedge else 0


def _size(signed_e8: int) -> str:
    if not signed_e8:
        return "flat"
    return f"{'LONG' if signed_e8 > 0 else 'SHORT'} {format_quantity(abs(signed_e8))}"


def _position_cause(own: list[OurPosition], mine: int, seen: int) -> Cause | None:
    in_flight = any(p.in_flight for p in own)
    in_doubt = any(p.in_doubt for p in own)
    if mine == seen:
        return Cause.IN_DOUBT if in_doubt and not in_flight else None
    if in_flight:
        return Cause.IN_FLIGHT
    if not mine:
        return Cause.FOREIGN_POSITION
    if any(p.missing_e8 for p in own):
        return Cause.GONE
    if not seen:
        return Cause.CLOSED_OUTSIDE
    if (mine < 0) != (seen < 0):
        return Cause.OPPOSITE
    return Cause.REDUCED_OUTSIDE if abs(seen) < abs(mine) else Cause.FOREIGN_EXCESS


# -- money -----------------------------------------------------------------------------------------


def _money(ours: OurMoney, theirs: TheirView) -> Iterator[Row]:
    for name, here, there in (
        ("wallet", format_money(ours.wallet), format_money(theirs.wallet)),
        ("capital", format_money(ours.capital), ""),
        ("checksum K", format_money(ours.k_capital), ""),
    ):
        yield Row(level=Level.MONEY, asset="", name=name, ours=here, theirs=there)
    parts = _parts(ours, theirs.wallet)
    for cause in Cause:
        if amount := parts.get(cause):
            yield Row(
                level=Level.MONEY,
                asset="",
                name="difference",
                ours="",
                theirs=format_money(amount),
                cause=cause,
                amount=amount,
            )


def _parts(ours: OurMoney, wallet: int) -> dict[Cause, int]:
    """The wallet less K by cause; the parts add up to it, exactly."""
    if not ours.wallet:
        return {Cause.NOT_SEEDED: wallet - ours.k_capital}
    parts = {_DRIFT[cause]: amount for cause, amount in ours.causes.items()}
    moved = wallet - ours.capital
    cause = Cause.ROUNDING if abs(moved) < ours.digit else Cause.WALLET_MOVED
    parts[cause] = parts.get(cause, 0) + moved
    # What K has taken in since the anchor, and the anchor may or may not hold.
    settling = wallet - ours.k_capital - sum(parts.values()) + parts.pop(Cause.SETTLING, 0)
    for cause in _SETTLED_BY_FLOWS:  # the wallet holds it by now, or it was the reason of a drift
        part = parts.get(cause, 0)
        if settling * part < 0:
            gone = min(abs(settling), abs(part)) * (1 if part > 0 else -1)
            settling, parts[cause] = settling + gone, part - gone
    parts[Cause.SETTLING] = settling
    return parts
