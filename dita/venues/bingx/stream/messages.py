"""The frames of the BingX swap stream as records: names as on the wire, digits unread.

One record serves every frame, because what a frame is shows in its body and not in its name (a
SNAPSHOT carries ``ac`` or ``a``, a market push has no name at all).  What a frame means is in
``parse`` (dossier §3).
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from dita.venues.bingx.values import Digits, UnreadableValue, decoder

T = TypeVar("T")

#: A decompressed frame is at most this long: a hundred levels of both sides are about 6 kB.
FRAME_BYTES_MAX: Final = 1024 * 1024


_ORDER_NAMES: Final = {
    "symbol": "s",
    "order_id": "i",
    "client_order_id": "c",
    "side": "S",
    "type": "o",
    "status": "X",
    "position_side": "ps",
    "quantity": "q",
    "filled": "z",
    "average_price": "ap",
    "last_quantity": "l",
    "last_price": "L",
    "fee": "n",
    "fee_asset": "N",
    "realized": "rp",
    "trade_time": "T",
}


class OrderBody(msgspec.Struct, frozen=True, gc=False, rename=_ORDER_NAMES):
    """``o`` of an ORDER_TRADE_UPDATE (dossier §3.3).

    ``p`` is left out, as it is never a fill price, and so is ``x``: it says TRADE without a trade.
    """

    # In the order of the captures: the decoder then finds each name at its first try.
    symbol: Any = ""
    client_order_id: Any = ""  # empty in every capture
    order_id: Digits = None
    side: Any = ""
    type: Any = ""
    quantity: Digits = None  # as ordered
    average_price: Digits = None  # over all that is filled
    status: Any = ""
    fee_asset: Any = ""
    fee: Digits = None  # negative = paid
    trade_time: Digits = None  # 0 in both fill captures
    position_side: Any = ""
    realized: Digits = None
    filled: Digits = None  # cumulative: what a fill is known by
    last_quantity: Digits = None  # optional
    last_price: Digits = None  # optional


class WalletRow(msgspec.Struct, frozen=True, gc=False):
    """One asset in ``B`` of an ACCOUNT_UPDATE."""

    a: Any = ""  # asset
    wb: Digits = None  # wallet balance
    cw: Digits = None  # without isolated margin
    bc: Digits = None  # change


class PositionBody(msgspec.Struct, frozen=True, gc=False):
    """One position in ``P`` of an ACCOUNT_UPDATE."""

    s: Any = ""  # symbol
    pa: Digits = None  # amount
    ps: Any = ""  # position side
    ep: Digits = None  # entry price
    mt: Any = ""  # margin type


class AccountBody(msgspec.Struct, frozen=True, gc=False):
    """``a`` of an ACCOUNT_UPDATE; a missing list says nothing."""

    m: Any = ""  # reason
    B: tuple[WalletRow, ...] | None = None
    P: tuple[PositionBody, ...] | None = None


_CONFIG_NAMES: Final = {
    "symbol": "s",
    "long_leverage": "l",
    "short_leverage": "S",
    "margin_type": "mt",
}


class ConfigBody(msgspec.Struct, frozen=True, gc=False, rename=_CONFIG_NAMES):
    """``ac`` of an ACCOUNT_CONFIG_UPDATE or SNAPSHOT."""

    symbol: Any = ""
    long_leverage: Digits = None
    short_leverage: Digits = None
    margin_type: Any = ""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """Any frame: of the user stream, of a market stream, an ack, or an error."""

    e: Any = ""
    E: Digits = None
    o: OrderBody | None = None
    a: AccountBody | None = None
    ac: ConfigBody | None = None
    listen_key: Any = msgspec.field(default="", name="listenKey")
    id: Any = None
    code: Digits = None
    msg: Any = ""
    data_type: Any = msgspec.field(default="", name="dataType")
    data: msgspec.Raw = msgspec.Raw(b"null")


class BookPush(msgspec.Struct, frozen=True, gc=False):
    """``data`` of bookTicker: best bid and ask with quantities."""

    s: Any = ""
    E: Digits = None
    b: Digits = None
    B: Digits = None
    a: Digits = None
    A: Digits = None


class TradePush(msgspec.Struct, frozen=True, gc=False):
    """One trade of ``data`` of trade; ``m``: the buyer is the maker."""

    s: Any = ""
    p: Digits = None
    q: Digits = None
    T: Digits = None
    m: Any = None


class MarkPush(msgspec.Struct, frozen=True, gc=False):
    """``data`` of markPrice."""

    s: Any = ""
    E: Digits = None
    p: Digits = None


class LastPush(msgspec.Struct, frozen=True, gc=False):
    """``data`` of lastPrice."""

    s: Any = ""
    E: Digits = None
    c: Digits = None


class TickerPush(msgspec.Struct, frozen=True, gc=False):
    """``data`` of ticker.  It names bid and ask the other way round than bookTicker does."""

    s: Any = ""
    E: Digits = None
    c: Digits = None  # last price
    A: Digits = None  # ask price
    a: Digits = None  # ask quantity
    B: Digits = None  # bid price
    b: Digits = None  # bid quantity


_CANDLE_NAMES: Final = {
    "open": "o",
    "high": "h",
    "low": "l",
    "close": "c",
    "volume": "v",
    "time": "T",
}


class CandlePush(msgspec.Struct, frozen=True, gc=False, rename=_CANDLE_NAMES):
    """One candle of ``data`` of kline; the time is when it opened."""

    open: Digits = None
    high: Digits = None
    low: Digits = None
    close: Digits = None
    volume: Digits = None
    time: Digits = None


class DepthPush(msgspec.Struct, frozen=True, gc=False):
    """``data`` of depth; sort both sides."""

    bids: tuple[tuple[Any, Any], ...] = ()
    asks: tuple[tuple[Any, Any], ...] = ()
    action: Any = ""
    last_update_id: Digits = msgspec.field(default=None, name="lastUpdateId")


_FRAME: Final = decoder(Frame)
BOOK_PUSH: Final = decoder(BookPush)
TRADE_PUSH: Final = decoder(tuple[TradePush, ...])
MARK_PUSH: Final = decoder(MarkPush)
LAST_PUSH: Final = decoder(LastPush)
TICKER_PUSH: Final = decoder(TickerPush)
CANDLE_PUSH: Final = decoder(tuple[CandlePush, ...])
DEPTH_PUSH: Final = decoder(DepthPush)

_decode_frame = _FRAME.decode


def read_frame(text: bytes | str) -> Frame:
    """Decode one frame; the caller has bounded its size.  UnreadableValue when it is not one.

    A part of another shape than documented is left out, as if it were absent, so that it hides
    nothing beside it.
    """
    try:
        return _decode_frame(text)
    except (ValueError, RecursionError) as error:
        reason = str(error)
    try:
        parts = _PARTS.decode(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableValue(
            "frame cannot be read",
            expected="JSON of a documented shape",
            found=f"{len(text)} bytes ({reason})",
        ) from error
    return Frame(
        e=parts.e,
        E=parts.E,
        o=_part(_ORDER_BODY, parts.o),
        a=_account_of(_part(_ACCOUNT_PARTS, parts.a)),
        ac=_part(_CONFIG_BODY, parts.ac),
        listen_key=parts.listen_key,
        code=_part(_ANY, parts.code),
    )


class _Parts(msgspec.Struct):
    e: Any = ""
    E: Digits = None
    o: msgspec.Raw = msgspec.Raw(b"null")
    a: msgspec.Raw = msgspec.Raw(b"null")
    ac: msgspec.Raw = msgspec.Raw(b"null")
    listen_key: Any = msgspec.field(default="", name="listenKey")
    code: msgspec.Raw = msgspec.Raw(b"null")


class _AccountParts(msgspec.Struct):
    m: Any = ""
    B: msgspec.Raw = msgspec.Raw(b"null")
    P: msgspec.Raw = msgspec.Raw(b"null")


_ANY: Final = decoder(object)
_PARTS: Final = decoder(_Parts)
_ORDER_BODY: Final = decoder(OrderBody)
_CONFIG_BODY: Final = decoder(ConfigBody)
_ACCOUNT_PARTS: Final = decoder(_AccountParts)
_LIST: Final = decoder(tuple[msgspec.Raw, ...])
_WALLET_ROW: Final = decoder(WalletRow)
_POSITION_BODY: Final = decoder(PositionBody)


def _part(by: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T | None:
    try:
        return by.decode(raw)
    except (ValueError, RecursionError):
        return None


def _account_of(parts: _AccountParts | None) -> AccountBody | None:
    if parts is None:
        return None
    wallets = (_part(_WALLET_ROW, raw) for raw in _part(_LIST, parts.B) or ())
    # A position of no readable shape is one of an unknown symbol.
    positions = (_part(_POSITION_BODY, raw) for raw in _part(_LIST, parts.P) or ())
    return AccountBody(
        m=parts.m,
        B=tuple(row for row in wallets if row is not None),
        P=tuple(row or PositionBody() for row in positions),
    )
