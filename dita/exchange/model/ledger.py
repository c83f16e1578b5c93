"""The wallet of the one account: nothing moves it without an income row.

Keeps rows in the order of time and finds them by time; the oldest of very many go, and their sum is
kept.  It knows no order and no position.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from dita.exchange.model.records import Income, IncomeType

_NUMBERS: dict[str, int] = {type_: number for number, type_ in enumerate(IncomeType)}
_PNL = (IncomeType.REALIZED_PNL, IncomeType.ADL)


class Ledger:
    """Wallet and income history."""

    def __init__(self, wallet: int, rows_min: int = 100_000) -> None:
        self.initial = wallet
        self.wallet = wallet
        self.rows: list[Income] = []
        self.forgotten = 0  # sum of the rows that are gone
        self._rows_min = rows_min
        self._number = 0
        self.realized = 0

    def book(
        self,
        type_: IncomeType | str,
        symbol: str,
        amount: int,
        now_ms: int,
        *,
        trade_id: str = "",
        info: str = "",
    ) -> None:
        """Move the wallet and write the row that says why.  Nothing moves: no row."""
        if not amount:
            return
        self.wallet += amount
        if type_ in _PNL:
            self.realized += amount
        self._number += 1
        if len(self.rows) >= 2 * self._rows_min:
            self.forgotten += sum(row.amount for row in self.rows[: self._rows_min])
            del self.rows[: self._rows_min]
        self.rows.append(
            Income(
                tran_id=f"{now_ms}_{self._number}_{_NUMBERS.get(type_, len(_NUMBERS))}",
                type=type_,
                symbol=symbol,
                amount=amount,
                info=info or str(type_).replace("_", " ").title(),
                trade_id=trade_id,
                time_ms=now_ms,
            )
        )

    def reset(self, wallet: int) -> None:
        """Begin anew with another wallet and no row: what an account's reset leaves."""
        self.initial = self.wallet = wallet
        self.rows.clear()
        self.forgotten = self.realized = 0

    def find(
        self, symbol: str, type_: IncomeType | None, start_ms: int, end_ms: int, limit: int
    ) -> list[Income]:
        """Rows from start to end, both inclusive, oldest first; an end of 0 means now."""
        first = bisect_left(self.rows, start_ms, key=_time_ms)
        last = bisect_right(self.rows, end_ms, key=_time_ms) if end_ms else len(self.rows)
        found = []
        for row in self.rows[first:last]:
            if (not symbol or row.symbol == symbol) and (type_ is None or row.type is type_):
                found.append(row)
                if len(found) == limit:
                    break
        return found


def _time_ms(row: Income) -> int:
    return row.time_ms
