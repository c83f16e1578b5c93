"""What is known of a recorded trade besides its steps, and from where: the facts in NAME.toml.

``replay`` reads it to put other books beside the kernel's.  Figures that nobody recorded are None,
never guessed.  It computes nothing, and it knows neither steps nor kernel.
"""

from __future__ import annotations

import msgspec

from dita.contracts import OrderRole, Record, TradeSide
from dita.errors import UsageError
from dita.incident.defects import Fill
from dita.units import parse_money, parse_price, parse_quantity

__all__ = ["Fact", "Incident", "read"]


class Fact(Record, frozen=True, kw_only=True):
    """One sentence about the record, and whether it is recorded, computed, injected or unknown."""

    kind: str
    text: str


class Incident(Record, frozen=True, kw_only=True):
    """What is known of a trade besides its steps.  Money that nobody recorded is None."""

    asset: str
    side: TradeSide
    date: str
    leverage: int
    default: str
    settlement: str
    source: str
    first_leg: int | None
    total: int | None
    capital_difference: int | None
    exchange_net: int | None
    fills: tuple[Fill, ...]
    facts: tuple[Fact, ...]


class _RawFill(msgspec.Struct, forbid_unknown_fields=True):
    role: str
    quantity: str
    price: str
    bound: str = "0"
    after_restart: bool = False


class _RawFact(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    text: str


class _RawFigures(msgspec.Struct, forbid_unknown_fields=True):
    first_leg: str | None = None
    total: str | None = None
    capital_difference: str | None = None
    exchange_net: str | None = None


class _RawIncident(msgspec.Struct, forbid_unknown_fields=True):
    asset: str
    side: str
    date: str
    leverage: int
    default: str
    source: str
    settlement: str
    recorded: _RawFigures
    fill: list[_RawFill]
    fact: list[_RawFact] = []


def read(text: str, place: str) -> Incident:
    """The facts in the text of a NAME.toml; UsageError that names the place when it is none."""
    try:
        raw = msgspec.toml.decode(text, type=_RawIncident)
        return Incident(
            asset=raw.asset,
            side=TradeSide[raw.side],
            date=raw.date,
            leverage=raw.leverage,
            default=raw.default,
            settlement=raw.settlement,
            source=raw.source,
            first_leg=_money(raw.recorded.first_leg),
            total=_money(raw.recorded.total),
            capital_difference=_money(raw.recorded.capital_difference),
            exchange_net=_money(raw.recorded.exchange_net),
            fills=tuple(_fill(fill) for fill in raw.fill),
            facts=tuple(Fact(kind=fact.kind, text=fact.text) for fact in raw.fact),
        )
    except (msgspec.DecodeError, KeyError, ValueError) as bad:
        raise UsageError(
            f"{place}: refused",
            expected="what is known of a trade, as in the packaged configs/trades/fet.toml",
            found=str(bad),
            action="correct it in the file",
        ) from bad


def _money(text: str | None) -> int | None:
    return None if text is None else parse_money(text)


def _fill(raw: _RawFill) -> Fill:
    return Fill(
        role=OrderRole[raw.role],
        quantity_e8=parse_quantity(raw.quantity),
        price_e10=parse_price(raw.price),
        bound_e10=parse_price(raw.bound),
        after_restart=raw.after_restart,
    )
