"""What the exchange, or a person at its own screen, does to the account beside its orders.

Symbols are halted, a stop set by hand locks a position, positions vanish, an account begins anew,
money moves under any word.  Called by tests and by the control endpoint; no order of a client comes
here.
"""

from __future__ import annotations

from msgspec.structs import replace

from dita.exchange.model import checks
from dita.exchange.model.exchange import Exchange
from dita.exchange.model.records import AccountReason, Position, PositionSide, Refused


class Acts:
    """Acts on one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def halt(self, symbol: str, code: int, now_ms: int, *, closes: bool = False) -> None:
        """Nothing is traded on a symbol any more; with ``closes`` positions may still be closed.

        Refused for a code that is none of a halt's: 101415, 109417, 109418.
        """
        exchange = self._exchange
        exchange.tell_time(now_ms)
        contract = exchange.contract(symbol)
        if code not in checks.HALT_STATUSES:
            raise Refused(checks.INVALID, f"no code of a halt: {code}")
        exchange.halts[symbol] = (code, closes)
        status = checks.HALT_STATUSES[code]
        exchange.contracts[symbol] = replace(contract, status=status, closable=closes)

    def resume(self, symbol: str, now_ms: int) -> None:
        """A halt is over."""
        exchange = self._exchange
        exchange.tell_time(now_ms)
        contract = exchange.contract(symbol)
        exchange.halts.pop(symbol, None)
        exchange.contracts[symbol] = replace(contract, status=1, closable=True)

    def lock(
        self,
        symbol: str,
        quantity_e8: int,
        now_ms: int,
        *,
        side: PositionSide = PositionSide.BOTH,
        code: int = 101205,
    ) -> None:
        """A stop set at the exchange's own screen locks a part of a position, until it is 0 again.

        A closing order for more than is left is refused with ``code``.
        """
        exchange = self._exchange
        exchange.tell_time(now_ms)
        exchange.contract(symbol)
        if code not in checks.LOCK_CODES:
            raise Refused(checks.INVALID, f"no code of a locked quantity: {code}")
        exchange.locks.pop((symbol, side), None)
        if quantity_e8:
            exchange.locks[symbol, side] = (quantity_e8, code)

    def vanish(self, symbol: str, now_ms: int) -> list[Position]:
        """Positions of a symbol, of all for "", are gone: no order, fill, row or event tells it."""
        exchange = self._exchange
        exchange.tell_time(now_ms)
        gone = exchange.positions(symbol)
        kept = {key: held for key, held in exchange.held.open.items() if held not in gone}
        exchange.held.open.clear()
        exchange.held.open.update(kept)
        return gone

    def reset(self, wallet: int, now_ms: int) -> None:
        """The account begins anew, as test accounts do: nothing is held, ordered or remembered."""
        self.vanish("", now_ms)
        exchange = self._exchange
        exchange.registry.forget_all()
        exchange.ledger.reset(wallet)
        exchange.locks.clear()

    def pay(self, word: str, symbol: str, amount: int, now_ms: int) -> None:
        """Money moves for a reason of the exchange's own, with a row of that word."""
        exchange = self._exchange
        exchange.tell_time(now_ms)
        exchange.ledger.book(word, symbol, amount, exchange.now_ms)
        exchange.tell_account(AccountReason.DEPOSIT, amount, [])
