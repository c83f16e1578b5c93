"""What happens to the account without our asking: prices, money, and other people's hands.

Each act happens now, and the stream tells of it as a venue would; what it does not tell of, nobody
hears.
"""

from __future__ import annotations

from dita.contracts import BalanceReason, KernelEventKind, OrderSide, OrderType, PositionSide
from dita.errors import VenueError
from dita.venues import IncomeKind, OrderRef, SubmitOrder
from dita.venues.mock.book import Book
from dita.venues.mock.stream import Stream


class Hands:
    """The acts, for a venue that has a book and a stream."""

    book: Book
    stream: Stream

    def run(self) -> None:
        """Do everything that is due by now."""
        raise NotImplementedError

    def advance(self, asset: str, price_e10: int) -> None:
        """Move the price now."""
        self.run()
        self.book.set_price(asset, price_e10)

    def fill(self, order: OrderRef, quantity_e8: int = 0) -> None:
        """Fill a working order now, at its limit or at the price; 0 = all that is left."""
        self.run()
        found = self.book.find(order)
        if found is None or not found.works:
            raise VenueError("no such working order", found=order.client_order_id)
        price = found.limit_price_e10 or self.book.prices[found.asset]
        maker = found.order_type is OrderType.LIMIT
        self.book.take(found, quantity_e8 or found.left_e8, price, maker)

    def fund(self, asset: str, rate_e9: int) -> int:
        """Pay funding now; the balance is told on the stream, the rows are read as income."""
        self.run()
        paid = self.book.fund(asset, rate_e9)
        self.stream.tell_balance(BalanceReason.FUNDING)
        return paid

    def transfer(self, amount: int) -> None:
        """Money goes into or out of the wallet."""
        self.run()
        self.book.flow(IncomeKind.TRANSFER, "", amount)
        self.stream.tell_balance(BalanceReason.TRANSFER)

    def liquidate(self, asset: str, adl: bool = False) -> None:
        """The venue closes our positions of a symbol."""
        self.run()
        self.book.liquidate(asset, KernelEventKind.ADL if adl else KernelEventKind.LIQUIDATION)

    def trade_by_hand(
        self,
        asset: str,
        side: OrderSide,
        quantity_e8: int,
        position_side: PositionSide = PositionSide.UNKNOWN,
    ) -> None:
        """Somebody trades on the same account at the venue's own screen.

        In hedge mode the position side says whether it opens or closes; without one it opens.
        """
        self.run()
        order = SubmitOrder(
            client_order_id="",
            asset=asset,
            side=side,
            order_type=OrderType.MARKET,
            quantity_e8=quantity_e8,
            reduce_only=int(position_side) == -int(side),
        )
        self.book.place(order)

    def pay(self, kind: IncomeKind, asset: str, amount: int, word: str = "") -> None:
        """Money of any kind moves, with its income row."""
        self.run()
        self.book.flow(kind, asset, amount, word=word)
        self.stream.tell_balance(BalanceReason.UNKNOWN)

    def vanish(self, asset: str) -> None:
        """The positions of a symbol are gone: no order, no fill, no row."""
        self.run()
        self.book.vanish(asset)

    def lock(
        self, asset: str, quantity_e8: int, position_side: PositionSide = PositionSide.UNKNOWN
    ) -> None:
        """A stop set by hand locks this much of a position; 0 lifts it."""
        self.run()
        self.book.locked[asset, int(position_side)] = quantity_e8

    def suspend(self, asset: str, suspended: bool = True) -> None:
        """Nothing trades on a symbol, or it does again."""
        self.run()
        (self.book.suspended.add if suspended else self.book.suspended.discard)(asset)
