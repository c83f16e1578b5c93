"""Questions to BingX and their whole answers: windows of time, full pages, either id of an order.

Every method gives a complete answer or raises QueryFailed: a page that is full is followed or
split, never cut, and "there is no such order" is only what the exchange documents as that.  Rows
that cannot be read are part of the answer (``Rows``).  It sends nothing that changes anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from dita.identity import same_client_id
from dita.venues import (
    BalanceReport,
    FillReport,
    IncomeReport,
    OrderRef,
    OrderReport,
    PositionReport,
    QueryFailed,
    Rows,
)
from dita.venues.bingx.rest import client, parse
from dita.venues.bingx.rest.client import Client, Endpoint, refused
from dita.venues.bingx.rest.error_codes import Meaning
from dita.venues.bingx.rest.symbols import mark_price_of
from dita.venues.bingx.rows import Oddities, merged
from dita.venues.bingx.values import UnreadableValue, unreadable

T = TypeVar("T")

#: "The query range is more than seven days" is refused (dossier §1.4); a little less is asked for.
WINDOW_MS: Final = 7 * 86_400_000 - 10_000
#: Windows overlap: whether their ends are inclusive is not documented.
OVERLAP_MS: Final = 60_000
#: The exchange keeps three months (dossier §2.4).
HISTORY_MS: Final = 89 * 86_400_000
#: Asked into the future by so much: our idea of the exchange's time may be a little late.
AHEAD_MS: Final = 1_000
PAGE_ROWS: Final = 1_000
PAGES_MAX: Final = 100


class _Page(NamedTuple, Generic[T]):
    """The reports of a page, and how many rows it had, those that are no reports included."""

    reports: Rows[T]
    rows: int


class Questions:
    """One account's questions.  ``assets`` are what margin may be called, the likelier first;
    which it is here, the first balance tells."""

    def __init__(self, of: Client, name_of: Callable[[str], str], assets: tuple[str, ...]) -> None:
        self._client = of
        self._name_of = name_of
        self._assets = assets
        #: What margin is called; "" before the first balance.
        self.margin_asset = ""
        #: What could not be read of answers and frames.
        self.oddities = Oddities()

    # -- orders ------------------------------------------------------------------------------------

    async def order(self, ref: OrderRef) -> OrderReport | None:
        """The order by its venue id, else by its client id; None when there is neither."""
        budget, limit = self._client.budget, client.ORDER.limit
        # Twenty answers "not exist" within 8 minutes block it; the lists may still find it.
        if blocked_ms := budget.blocked_ms(limit):
            return await self._listed(ref, f"blocked for {blocked_ms} ms")
        if budget.is_near_block(limit):
            return await self._listed(ref, "asked too often for orders that do not exist")
        if ref.venue_order_id:
            report = await self._order(ref, {"orderId": ref.venue_order_id})
            if report is not None or not ref.client_order_id:
                return report
        return await self._order(ref, {"clientOrderId": ref.client_order_id})

    async def _order(self, ref: OrderRef, by: dict[str, str]) -> OrderReport | None:
        parameters = {"symbol": self._name_of(ref.asset), **by}
        answer = await self._client.ask(client.ORDER, parameters)
        if answer.meaning is Meaning.NOT_FOUND:
            return None
        if answer.meaning is Meaning.ENDED:
            # 109422 says "filled already" and "doesn't exist": the history knows which.
            return await self._listed(ref, answer.shown)
        if answer.meaning is not Meaning.DONE:
            raise refused(client.ORDER, answer)
        try:
            report = parse.order_of(answer.data)
        except UnreadableValue as bad:
            name = ref.client_order_id or ref.venue_order_id
            self.oddities.note(client.ORDER.limit.name, f"{ref.asset} {name}", str(bad))
            raise QueryFailed(
                f"the answer about order {name} cannot be read",
                expected=bad.expected,
                found=f"{bad.what}: {bad.found}",
            ) from bad
        if not is_order(report, ref):
            raise QueryFailed(
                "the exchange answered with another order",
                expected=ref.client_order_id or ref.venue_order_id,
                found=f"{report.client_order_id} {report.venue_order_id}",
            )
        return report

    async def _listed(self, ref: OrderRef, why: str) -> OrderReport:
        """The order in the lists; not in there it is not proven absent, as it was not asked for."""
        for report in await self.all_orders(ref.asset, 0):
            if is_order(report, ref):
                return report
        raise QueryFailed("no answer about the order, and no list has it", found=why)

    async def open_orders(self, asset: str) -> Rows[OrderReport]:
        """Orders of a symbol that work."""
        symbol = self._name_of(asset)
        data = await self._client.wanted(client.OPEN_ORDERS, {"symbol": symbol})
        found = _read(client.OPEN_ORDERS, lambda data: parse.orders_of(data, symbol), data)
        return self._noted(client.OPEN_ORDERS, found)

    def _noted(self, endpoint: Endpoint, rows: Rows[T]) -> Rows[T]:
        self.oddities.note_rows(endpoint.limit.name, rows)
        return rows

    async def all_orders(self, asset: str, since_ms: int) -> Rows[OrderReport]:
        """Orders in any state.

        The history has ended orders only, so the open ones are asked for first: one that ends in
        between is in both lists, never in none, and the history's word counts.
        """
        answers = [await self.open_orders(asset)]
        symbol = self._name_of(asset)

        async def page(start_ms: int, end_ms: int) -> _Page[OrderReport]:
            parameters = {
                "symbol": symbol,
                "startTime": str(start_ms),
                "endTime": str(end_ms),
                "limit": str(PAGE_ROWS),
            }
            data = await self._client.wanted(client.ALL_ORDERS, parameters)
            return _Page(
                _read(client.ALL_ORDERS, lambda data: parse.orders_of(data, symbol), data),
                _read(client.ALL_ORDERS, parse.order_rows_in, data),
            )

        for start_ms, end_ms in self._windows(since_ms):
            answer = await _whole(client.ALL_ORDERS, page, start_ms, end_ms)
            answers.append(self._noted(client.ALL_ORDERS, answer))
        return merged(answers, lambda report: report.venue_order_id)

    # -- fills -------------------------------------------------------------------------------------

    async def fills(self, asset: str, since_ms: int) -> Rows[FillReport]:
        """Fills, oldest first; each once."""
        symbol = self._name_of(asset)
        answers = []
        for start_ms, end_ms in self._windows(since_ms):
            parameters = {"symbol": symbol, "startTs": str(start_ms), "endTs": str(end_ms)}
            answers += await self._fill_pages(symbol, parameters)
        found = self._noted(client.FILLS, merged(answers, lambda fill: fill.fill_id))
        return Rows(sorted(found, key=_fill_order), found.unreadable)

    async def _fill_pages(self, symbol: str, parameters: dict[str, str]) -> list[Rows[FillReport]]:
        """Every page of one window; the next one is asked for while they are full."""
        pages: list[Rows[FillReport]] = []
        known: set[str] = set()
        for number in range(1, PAGES_MAX + 1):
            paging = {"pageIndex": str(number), "pageSize": str(PAGE_ROWS)}
            data = await self._client.wanted(client.FILLS, {**parameters, **paging})
            page = _read(client.FILLS, lambda data: parse.fills_of(data, symbol), data)
            pages.append(page)
            if _read(client.FILLS, parse.fill_rows_in, data) < PAGE_ROWS:
                return pages
            fresh = {fill.fill_id for fill in page} - known
            if page and not fresh:
                break  # the same page again: the exchange does not turn them
            known |= fresh
        raise _cut_off(client.FILLS)

    # -- market ------------------------------------------------------------------------------------

    async def mark_price(self, asset: str) -> int:
        """The mark price in 10^-10."""
        name = self._name_of(asset)
        data = await self._client.wanted(client.MARK, {"symbol": name})
        return _read(client.MARK, lambda row: mark_price_of(row, name), data)

    # -- account -----------------------------------------------------------------------------------

    async def positions(self) -> Rows[PositionReport]:
        """Every position that is not flat."""
        data = await self._client.wanted(client.POSITIONS, {})
        return self._noted(client.POSITIONS, _read(client.POSITIONS, parse.positions_of, data))

    async def balance(self) -> BalanceReport:
        """The wallet, true at some moment between the two times."""
        endpoint = client.BALANCE
        requested_ms = self._client.time.now_ms()
        answer = await self._client.ask(endpoint, {})
        if answer.code in (100400, 100404):  # no such path: an exchange with the older one only
            endpoint = client.OLD_BALANCE
            requested_ms = self._client.time.now_ms()
            answer = await self._client.ask(endpoint, {})
        if answer.meaning is not Meaning.DONE:
            raise refused(endpoint, answer)
        answered_ms = max(requested_ms, self._client.time.now_ms())
        asset = self.margin_asset or _read(endpoint, self._find_asset, answer.data)

        def read(data: msgspec.Raw) -> BalanceReport:
            return parse.balance_of(data, asset, requested_ms, answered_ms)

        report = _read(endpoint, read, answer.data)
        self.margin_asset = asset
        return report

    def _find_asset(self, data: msgspec.Raw) -> str:
        names = [row.asset for row in parse.balance_rows(data)]
        for asset in self._assets:
            if asset in names:
                return asset
        raise unreadable("balance", names, f"a row of {' or '.join(self._assets)}")

    async def income(self, since_ms: int) -> Rows[IncomeReport]:
        """Income rows, oldest first; each once."""

        if not self.margin_asset:
            await self.balance()
        asset = self.margin_asset

        async def page(start_ms: int, end_ms: int) -> _Page[IncomeReport]:
            parameters = {
                "startTime": str(start_ms),
                "endTime": str(end_ms),
                "limit": str(PAGE_ROWS),
            }
            data = await self._client.wanted(client.INCOME, parameters)
            return _Page(
                _read(client.INCOME, lambda rows: parse.income_of(rows, asset), data),
                _read(client.INCOME, lambda rows: len(parse.income_rows(rows)), data),
            )

        windows = self._windows(since_ms)
        answers = [await _whole(client.INCOME, page, start, end) for start, end in windows]
        found = self._noted(client.INCOME, merged(answers, lambda row: row.income_id))
        return Rows(sorted(found, key=lambda row: (row.time_ms, row.income_id)), found.unreadable)

    def _windows(self, since_ms: int) -> Iterable[tuple[int, int]]:
        return windows(since_ms, self._client.time.now_ms())


def windows(since_ms: int, now_ms: int) -> Iterable[tuple[int, int]]:
    """The stretches of time to ask about, oldest first; 0 means the newest one alone.

    QueryFailed when the exchange does not keep what is asked for: a part is not an answer.
    """
    end_ms = now_ms + AHEAD_MS
    start_ms = since_ms or max(0, end_ms - WINDOW_MS)
    if start_ms < now_ms - HISTORY_MS:
        raise QueryFailed(
            "the exchange does not keep its history so long",
            expected=f"a time after {now_ms - HISTORY_MS}",
            found=str(since_ms),
            action="ask from a later time on",
        )
    found = []
    while end_ms - start_ms > WINDOW_MS:
        found.append((start_ms, start_ms + WINDOW_MS))
        start_ms += WINDOW_MS - OVERLAP_MS
    return (*found, (min(start_ms, end_ms), end_ms))


async def _whole(
    endpoint: Endpoint,
    page: Callable[[int, int], Awaitable[_Page[T]]],
    start_ms: int,
    end_ms: int,
) -> Rows[T]:
    """All rows of a window: one that fills its page is asked for in two halves.

    Halves need to know neither how rows are sorted nor by which of their times they are found.
    """
    found = await page(start_ms, end_ms)
    if found.rows < PAGE_ROWS:
        return found.reports
    if end_ms - start_ms < 2:
        raise _cut_off(endpoint)
    middle_ms = (start_ms + end_ms) // 2
    older = await _whole(endpoint, page, start_ms, middle_ms)
    # Both halves have the middle: rows that came twice are told apart by their ids.
    newer = await _whole(endpoint, page, middle_ms, end_ms)
    return Rows((*older, *newer), (*older.unreadable, *newer.unreadable))


def _cut_off(endpoint: Endpoint) -> QueryFailed:
    return QueryFailed(
        f"the answer to {endpoint.limit.name} is cut off", found=f"{PAGE_ROWS} rows, and no end"
    )


def _read(endpoint: Endpoint, read: Callable[[msgspec.Raw], T], data: msgspec.Raw) -> T:
    try:
        return read(data)
    except UnreadableValue as bad:
        raise QueryFailed(
            f"the answer to {endpoint.limit.name} cannot be read",
            expected=bad.expected,
            found=f"{bad.what}: {bad.found}",
        ) from bad


def is_order(report: OrderReport, ref: OrderRef) -> bool:
    """Returns whether a report is about the order."""
    if ref.venue_order_id and report.venue_order_id == ref.venue_order_id:
        return True
    return same_client_id(report.client_order_id, ref.client_order_id)


def _fill_order(fill: FillReport) -> tuple[int, int, str]:
    # Ids are numbers as text: the shorter one is the older one.
    return (fill.filled_ms, len(fill.fill_id), fill.fill_id)
