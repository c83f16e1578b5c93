"""Sums over trades: of all, by day and by symbol.  Exact; how they are shown is not known here."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dita.contracts import Record
from dita.display import day
from dita.runtime.history.trades import Ended, TradeRow


class Total(Record, frozen=True, kw_only=True):
    """What some trades brought."""

    name: str
    trades: int = 0
    won: int = 0
    lost: int = 0
    gross: int = 0
    fees: int = 0
    funding: int = 0

    @property
    def net(self) -> int:
        """Everything."""
        return self.gross - self.fees + self.funding


def total(name: str, rows: Iterable[TradeRow]) -> Total:
    """The sum over trades; one that broke even is neither won nor lost."""
    rows = list(rows)
    return Total(
        name=name,
        trades=len(rows),
        won=sum(row.net > 0 for row in rows),
        lost=sum(row.net < 0 for row in rows),
        gross=sum(row.gross for row in rows),
        fees=sum(row.fees for row in rows),
        funding=sum(row.funding for row in rows),
    )


def closed(rows: Iterable[TradeRow]) -> list[TradeRow]:
    """Trades that filled and are over."""
    return [row for row in rows if row.closed_ms and row.ended is not Ended.OPEN]


def by_day(rows: Iterable[TradeRow]) -> list[Total]:
    """By the day on which they ended, in UTC."""
    return _by(rows, lambda row: day(row.closed_ms))


def by_symbol(rows: Iterable[TradeRow]) -> list[Total]:
    """By symbol."""
    return _by(rows, lambda row: row.asset)


def _by(rows: Iterable[TradeRow], key: Callable[[TradeRow], str]) -> list[Total]:
    groups: dict[str, list[TradeRow]] = {}
    for row in closed(rows):
        groups.setdefault(key(row), []).append(row)
    return [total(name, group) for name, group in sorted(groups.items())]
