"""Texts and keys: how an id of the outside becomes a number of the kernel, and back.

The kernel compares 64-bit keys only.  A decimal venue order id below 2^63 is its own key; every
other text is hashed, and a hash that two texts share is a fault, never a silent match.  Called by
``kernel``; knows nothing of slots or orders beyond their numbers.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from dita.errors import BadField, KernelFault

TEXT_MAX: Final = 64
#: Keys worked out before that are remembered, of each kind.  An id is asked for a few times within
#: moments and then never again, so more would only take memory.
KEYS_MAX: Final = 8_192
#: Texts of each kind that are remembered before those not in use are forgotten.
NAMES_MIN: Final = 8_192
#: From here on a key is a hash of a text, below it the number that the text says.
HASHED: Final = 1 << 63
#: How the client order ids of a kernel look, and with a 0, which none of those has, those of an
#: emergency exit; a venue may have changed their case.
_OWN_CLIENT_ID: Final = re.compile(r"[a-z2-7]{32}")
EMERGENCY_PREFIX: Final = "flatten0"
_EMERGENCY_CLIENT_ID: Final = re.compile(rf"{EMERGENCY_PREFIX}[a-z2-7]{{24}}")


def _checked(text: str, field: str) -> str:
    if type(text) is not str or len(text) > TEXT_MAX:
        raise BadField(field, text, f"text of at most {TEXT_MAX} characters")
    if not text.isascii() or not text.isprintable():
        raise BadField(field, text, "printable ASCII")
    return text


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class _Keys(dict[str, int]):
    """Keys that were worked out before; a pure function remembered, emptied when it is full."""

    def __init__(self, key_of_text: Callable[[str], int], limit: int) -> None:
        self._key_of_text = key_of_text
        self._limit = limit

    def __missing__(self, text: str) -> int:
        key = self._key_of_text(text)
        if len(self) >= self._limit:
            self.clear()
        self[text] = key
        return key


@lru_cache(maxsize=KEYS_MAX)
def key_of(text: str, field: str) -> int:
    """Key of an intent, trade or event id: 64 bits of its hash; 0 for "no id"."""
    return (_hashed(_checked(text, field)) or 1) if text != "" else 0


def plain_symbol(symbol: str) -> str:
    """A symbol as it is compared: FET-USDT and FETUSDT are the same."""
    return symbol.replace("-", "").upper()


def _asset_key(symbol: str) -> int:
    if symbol == "":
        return 0
    return _hashed(plain_symbol(_checked(symbol, "asset"))) or 1


def _venue_key(text: str) -> int:
    if text == "":
        return 0
    if _checked(text, "venue_order_id").isdecimal() and len(text) < 20 and text[0] != "0":
        number = int(text)
        if number < HASHED:
            return number
    return _hashed(text) | HASHED


#: The same as ``asset_key_of`` and ``venue_key_of`` without a call, for where each counts.
ASSET_KEYS: Final = _Keys(_asset_key, KEYS_MAX)
VENUE_KEYS: Final = _Keys(_venue_key, KEYS_MAX)


def asset_key_of(symbol: str) -> int:
    """Key of a symbol; a hyphen makes no difference (FET-USDT = FETUSDT, accounting fix §0.4)."""
    try:
        return ASSET_KEYS[symbol]
    except TypeError as unhashable:
        raise BadField("asset", symbol, "text") from unhashable


def venue_key_of(text: str) -> int:
    """Key of a venue order id: the number itself where it is one below 2^63, else a hash above.

    Venue ids exceed 2^53 (dossier §1.3), so they never pass through a float.
    """
    try:
        return VENUE_KEYS[text]
    except TypeError as unhashable:
        raise BadField("venue_order_id", text, "text") from unhashable


@lru_cache(maxsize=KEYS_MAX)
def foreign_client_key(text: str) -> int:
    """Key of a client order id that is not ours: above 2^63, where no own order number is."""
    return _hashed(_checked(text, "client_order_id")) | HASHED


def client_order_id(namespace: str, epoch: int, intent_id: str, child: int) -> str:
    """The id that an order carries at the venue (design P2): a pure function of its intent."""
    digest = hashlib.sha256(f"{namespace}\x00{epoch}\x00{intent_id}\x00{child}".encode()).digest()
    return base64.b32encode(digest).decode().lower()[:32]


def is_own_client_id(text: str) -> bool:
    """Returns whether an id has the shape of ``client_order_id``: a kernel like ours sent it.

    Whether it was this kernel, only its journal knows.
    """
    return text.isascii() and _OWN_CLIENT_ID.fullmatch(text.lower()) is not None


def same_client_id(one: str, other: str) -> bool:
    """Returns whether both name the same order; a venue may change the case, "" names nothing."""
    return one != "" and one.lower() == other.lower()


def emergency_client_id(namespace: str, started_ms: int, asset: str, number: int) -> str:
    """Returns the id of an order that was sent without a kernel; no kernel takes it for its own."""
    digest = client_order_id(namespace, started_ms, asset, number)
    return EMERGENCY_PREFIX + digest[: 32 - len(EMERGENCY_PREFIX)]


def is_emergency_client_id(text: str) -> bool:
    """Returns whether an id has the shape of ``emergency_client_id``."""
    return text.isascii() and _EMERGENCY_CLIENT_ID.fullmatch(text.lower()) is not None


class Names:
    """The texts behind keys.  More may be remembered than is in use; only that is saved."""

    def __init__(self, forget: Callable[[], None]) -> None:
        #: Called when there are too many texts: the owner replaces these names by those in use.
        self._forget = forget
        #: Beyond so many of one kind the owner is asked to forget.
        self.limit = NAMES_MIN
        self.trades: dict[int, str] = {}
        self.intents: dict[int, str] = {}
        self.assets: dict[int, str] = {}
        self.venue_ids: dict[int, str] = {}
        #: Client order id → own order number, and back.
        self.clients: dict[str, int] = {}
        self.orders: dict[int, str] = {}

    def learn(self, trade_id: str, intent_id: str, asset: str) -> None:
        """Remember an intent's texts.  KernelFault when two ids share one key."""
        for names, key, text in (
            (self.trades, key_of(trade_id, "trade_id"), trade_id),
            (self.intents, key_of(intent_id, "intent_id"), intent_id),
        ):
            if key and names.setdefault(key, text) != text:
                raise KernelFault("two ids share one key", expected=names[key], found=text)
        if asset:
            # The newest spelling, as a restored kernel would learn it.
            self.assets[asset_key_of(asset)] = asset

    def remember_venue_id(self, key: int, text: str) -> None:
        """Keep a venue order id that is not its own key."""
        if len(self.venue_ids) >= self.limit:
            self._forget()
        self.venue_ids[key] = text

    def set_limit(self) -> None:
        """After forgetting: room for as many again, so that forgetting stays rare."""
        in_use = max(map(len, (self.trades, self.intents, self.venue_ids, self.orders)))
        self.limit = max(NAMES_MIN, 2 * in_use)

    def copy_from(self, other: Names) -> None:
        """Know the same."""
        self.limit = other.limit
        self.trades, self.intents = dict(other.trades), dict(other.intents)
        self.assets, self.venue_ids = dict(other.assets), dict(other.venue_ids)
        self.clients, self.orders = dict(other.clients), dict(other.orders)

    def venue_id(self, key: int) -> str:
        """The venue order id with this key."""
        if key == 0:
            return ""
        return self.venue_ids.get(key, "") if key & HASHED else str(key)

    def in_use(
        self, trades: set[int], intents: set[int], assets: set[int], venue_ids: set[int]
    ) -> tuple[list[tuple[int, str]], ...]:
        """The names of these keys, sorted: the part that belongs to the state."""
        return (
            _picked(self.trades, trades),
            _picked(self.intents, intents),
            _picked(self.assets, assets),
            _picked(self.venue_ids, venue_ids),
        )


def _picked(names: dict[int, str], keys: Iterable[int]) -> list[tuple[int, str]]:
    return sorted((key, names[key]) for key in keys if key in names)
