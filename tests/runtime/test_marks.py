"""Marks from the answers about positions: journalled sparingly, unknown stays unknown, alarms."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace
from support.engine_driver import m, p
from support.floor import Floor, on_the_floor

from dita.contracts import KernelCommandType, KernelIntent, TradeStage
from dita.runtime.operations.status import slot_row, status_of
from dita.runtime.queries.marks import APART_MS

FET = "FET-USDT"


def told(floor: Floor) -> list[int]:
    """Marks that were journalled, in order."""
    marks = [r for r in floor.log.records if isinstance(r, KernelIntent)]
    return [r.reference_price_e10 for r in marks if r.command is KernelCommandType.MARK_PRICE]


async def opened(floor: Floor) -> None:
    await floor.enter()
    await floor.until(TradeStage.POSITION_OPEN)
    await floor.wait(lambda: not floor.engine.kernel.open_orders(), 10, "final")
    await floor.wait(lambda: "T1" in floor.order_query.marks.known, 2, "asked about")
    await asyncio.sleep(APART_MS / 1_000)  # from then on a mark is told at once


def of_the_venue(floor: Floor, **figures: Any) -> None:
    """From now on its answers carry these figures."""
    positions = type(floor.venue).positions

    async def answer() -> Any:
        return tuple(replace(r, **figures) for r in await positions(floor.venue))

    floor.venue.positions = answer  # type: ignore[method-assign]


def test_a_loss_at_the_exchange_is_a_loss_here() -> None:
    async def scene(floor: Floor) -> None:
        await opened(floor)
        floor.venue.advance(FET, p("0.9"))
        await floor.order_query.positions()
        slot = floor.engine.kernel.slot(0)
        assert slot.mark_price_e10 == p("0.9")
        assert slot.unrealized == m("-400")
        assert floor.engine.snapshot.equity == floor.engine.snapshot.capital - m("400")
        assert floor.order_query.marks.known["T1"].unrealized == m("-400")
        floor.venue.advance(FET, p("0.5"))
        await floor.exit()
        await floor.until(TradeStage.IDLE)

    on_the_floor(scene)


def test_a_mark_is_journalled_once_per_answer_and_not_unchanged() -> None:
    async def scene(floor: Floor) -> None:
        await opened(floor)
        floor.venue.advance(FET, p("0.51"))
        await floor.order_query.positions()
        before = told(floor)
        for _ in range(5):
            await floor.order_query.positions()
            await asyncio.sleep(APART_MS / 1_000)
        assert told(floor) == before
        for number in range(20):  # a doubt asks every second: that must not fill the disk
            floor.venue.advance(FET, p(f"0.52{number:02}"))
            await floor.order_query.positions()
            await asyncio.sleep(1)
        assert len(told(floor)) - len(before) <= 20_000 // APART_MS + 1
        assert floor.order_query.marks.known["T1"].mark_price_e10 == p("0.5219")  # shown at once
        await floor.exit()
        await floor.until(TradeStage.IDLE)
        await floor.order_query.positions()
        assert floor.order_query.marks.known == {}

    on_the_floor(scene)


def test_a_mark_that_the_venue_does_not_tell_is_not_known() -> None:
    async def scene(floor: Floor) -> None:
        of_the_venue(floor, mark_price_e10=0, unrealized=None)
        await opened(floor)
        await floor.order_query.positions()
        assert told(floor) == []
        row = slot_row(floor.engine.kernel.slot(0), floor.order_query.marks.known["T1"])
        assert (row["mark_price"], row["unrealized"]) == ("", "")
        assert (row["liquidation_price"], row["liquidation_distance"]) == ("", "")
        assert floor.order_query.marks.known["T1"].distance_e9 == -1

    on_the_floor(scene)


def test_a_new_position_has_its_mark_at_once() -> None:
    """The question about positions comes every 30 s; nobody waits so long for the first mark."""

    async def scene(floor: Floor) -> None:
        await floor.enter()
        await floor.until(TradeStage.POSITION_OPEN)
        await floor.wait(lambda: "T1" in floor.order_query.marks.known, 2, "a mark")
        assert floor.engine.kernel.slot(0).mark_price_e10 > 0

    on_the_floor(scene)


def test_the_age_of_a_mark_is_that_of_the_answer_that_told_it() -> None:
    async def scene(floor: Floor) -> None:
        def age_ms() -> int:
            (row,) = status_of(floor.service, epoch=1, settings_hash="")["slots"]
            return int(row["mark_age_ms"])

        of_the_venue(floor, mark_price_e10=p("0.51"))
        await opened(floor)
        await asyncio.sleep(7)
        assert 7_000 + APART_MS <= age_ms() <= 8_000 + APART_MS
        await floor.order_query.positions()  # says the same again
        assert age_ms() < 1_000
        for price in ("0.52", "0.53"):  # the second comes too soon to be journalled
            of_the_venue(floor, mark_price_e10=p(price))
            await floor.order_query.positions()
            await asyncio.sleep(1)
        (row,) = status_of(floor.service, epoch=1, settings_hash="")["slots"]
        assert row["mark_price"] == "0.52" and row["mark_age_ms"] >= 2_000

    on_the_floor(scene)


def test_a_liquidation_that_comes_near_is_an_alarm_until_it_is_far() -> None:
    async def scene(floor: Floor) -> None:
        alarms: list[tuple[str, bool]] = []
        floor.runtime.alarms.listeners.append(lambda a: alarms.append((a.name, a.ended)))
        await opened(floor)
        for price, distance in (("0.60", "0.2"), ("0.55", "0.1"), ("0.545", "0.09")):
            of_the_venue(floor, liquidation_price_e10=p(price))
            await floor.order_query.positions()
            assert floor.order_query.marks.known["T1"].distance_e9 == int(float(distance) * 10**9)
        assert alarms == [("liquidation near: T1", False)]
        (alarm,) = floor.runtime.alarms.active
        assert "SHORT FET-USDT" in alarm.text and "9.0 % away" in alarm.text
        row = slot_row(floor.engine.kernel.slot(0), floor.order_query.marks.known["T1"])
        assert (row["liquidation_price"], row["liquidation_distance"]) == ("0.545", "0.09")
        of_the_venue(floor, liquidation_price_e10=p("0.555"))
        await floor.order_query.positions()
        assert len(alarms) == 1  # 11 %: not near any more, and not far yet
        of_the_venue(floor, liquidation_price_e10=p("0.56"))
        await floor.order_query.positions()
        assert alarms[-1] == ("liquidation near: T1", True)

    on_the_floor(scene)


def test_an_alarm_ends_with_its_position() -> None:
    async def scene(floor: Floor) -> None:
        of_the_venue(floor, liquidation_price_e10=p("0.51"))
        await opened(floor)
        await floor.order_query.positions()
        names = [alarm.name for alarm in floor.runtime.alarms.active]
        assert names == ["liquidation near: T1"]
        await floor.exit()
        await floor.until(TradeStage.IDLE)
        await floor.order_query.positions()
        assert not floor.runtime.alarms.active

    on_the_floor(scene)


def test_leverage_that_somebody_changed_is_shown() -> None:
    async def scene(floor: Floor) -> None:
        of_the_venue(floor, leverage=20)
        await opened(floor)
        await floor.order_query.positions()
        row = slot_row(floor.engine.kernel.slot(0), floor.order_query.marks.known["T1"])
        assert (row["leverage"], row["leverage_there"]) == (1, 20)

    on_the_floor(scene)
