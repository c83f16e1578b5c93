"""What a person reads about an input: the words, the level, and that nothing is told twice.

Every scene is played on an engine; the teller sees what serve would show it.
"""

from __future__ import annotations

from typing import Any

import pytest
from support.engine_driver import LONG, SHORT, Desk, Kind, m, p, q

from dita.contracts import (
    ControlAction,
    KernelIntent,
    OrderSide,
    OrderType,
    RejectReason,
    VenueEvent,
)
from dita.engine import Outcome
from dita.journal import Note
from dita.runtime.eventlog.event import Event, EventName, Level
from dita.runtime.eventlog.teller import Teller

FET = "FET-USDT"


class Told(Desk):
    """A desk whose inputs are told."""

    def __init__(self, *, trace: bool = False, **config: Any) -> None:
        super().__init__(**config)
        self.teller = Teller(self.engine, trace=trace)
        self.events: list[Event] = []

    def send(self, record: KernelIntent | VenueEvent) -> Outcome:
        outcome = super().send(record)
        self.news = self.teller.tell(record, outcome, len(self.inputs))
        self.events += self.news
        return outcome

    @property
    def said(self) -> list[str]:
        """Of the last input: ``LEVEL NAME words``."""
        return [f"{e.level.name} {e.name.value} {e.text}" for e in self.news]


def test_a_round_trip_is_told_with_prices_and_money() -> None:
    desk = Told()
    desk.enter(1000, "0.5", side=SHORT, reason="eva: breakout", leverage=2)
    assert desk.said == [
        "INFO INTENT ENTER T1: SHORT 1,000 FET-USDT MARKET, price about 0.5, leverage 2;"
        " eva: breakout",
        "INFO ORDER SELL 1,000 FET-USDT MARKET, entry of T1",
    ]
    desk.ack()
    assert desk.said == []
    desk.fill("T1", 400, "0.5")
    assert desk.said == ["INFO FILL sold 400 FET-USDT at 0.5 (400 of 1,000), entry of T1"]
    desk.fill("T1", 1000, "0.4994", full=True, last_quantity_e8=q(600), last_price_e10=p("0.499"))
    assert desk.said == ["INFO FILL sold 600 FET-USDT at 0.499 (1,000 of 1,000), entry of T1"]
    desk.final("T1", 1000)
    assert desk.said == []
    desk.exit(reason="eva: enough")
    assert desk.said == [
        "INFO INTENT EXIT the next leg (1,000) of T1; eva: enough",
        "INFO ORDER BUY 1,000 FET-USDT MARKET, exit of T1",
    ]
    desk.fill("X1", 1000, "0.5094", full=True, fee=m("0.25"))
    assert desk.said == [
        "INFO FILL bought 1,000 FET-USDT at 0.5094 (1,000 of 1,000), exit of T1: -10.00,"
        " fee 0.2500",
        "INFO FLAT T1: lost 10.25 so far, before funding: price -10.00, fees -0.2500",
    ]
    assert [event.trade for event in desk.events] == ["T1"] * len(desk.events)


def test_what_the_exchange_said_when_it_refused_is_told_in_its_words() -> None:
    desk = Told()
    desk.enter(1000, "0.5")
    words = {"error_code": 101204, "message": "Insufficient margin"}
    desk.order("T1", Kind.ORDER_REJECT, **words)
    assert desk.said[0] == (
        "WARNING REJECTED by the exchange, BUY 1,000, entry of T1: code 101204 Insufficient margin"
    )
    assert desk.said[1:] == ["INFO UNFILLED T1 ended without a fill"]
    desk.enter(1000, "0.5", trade="T2")
    desk.order("T2", Kind.ORDER_REJECT, message="no entry: our clock is off")
    assert desk.said[0] == "WARNING NOT_SENT BUY 1,000, entry of T2: no entry: our clock is off"


def test_an_exit_that_is_refused_is_an_error() -> None:
    desk = Told()
    desk.open(100, "10")
    desk.exit()
    desk.order("X1", Kind.ORDER_REJECT, reject=RejectReason.POSITION_MISMATCH, error_code=101205,
               message="No position to close")  # fmt: skip
    assert desk.said[0] == (
        "ERROR REJECTED by the exchange, SELL 100, exit of T1: code 101205 No position to close"
    )


@pytest.mark.parametrize(
    ("kind", "name", "level", "words"),
    [
        (Kind.FULL_FILL, "EXTERNAL_CLOSE", "ERROR", "closed from outside, by hand or by another"),
        (Kind.LIQUIDATION, "LIQUIDATION", "CRITICAL", "the exchange liquidated"),
        (Kind.ADL, "ADL", "CRITICAL", "the exchange deleveraged"),
    ],
)
def test_who_else_closed_our_position(kind: Any, name: str, level: str, words: str) -> None:
    desk = Told()
    desk.open(100, "10")
    desk.event(kind, asset=FET, venue_order_id="777", side=OrderSide.SELL, quantity_e8=q(40),
               price_e10=p("9.5"))  # fmt: skip
    assert desk.said[0].startswith(f"{level} {name} {words}")
    assert "sold 40 FET-USDT at 9.5 of T1 (LONG): -20.00" in desk.said[0]
    assert desk.said[0].endswith("; 60 left")
    assert desk.said[1].startswith("WARNING DOUBT T1 in doubt: here LONG 60")
    desk.event(Kind.POSITION, asset=FET, side=OrderSide.BUY, quantity_e8=q(60))
    assert desk.said == ["INFO CERTAIN T1 is certain again: LONG 60"]
    desk.event(Kind.POSITION, asset=FET, side=OrderSide.BUY, quantity_e8=q(60))
    assert desk.said == []


def test_a_suspended_symbol_has_a_name_of_its_own() -> None:
    desk = Told()
    desk.open()
    desk.exit()
    desk.order(
        "X1", Kind.ORDER_REJECT, venue_order_id="", reject=RejectReason.SUSPENDED, error_code=109418
    )
    (event,) = (e for e in desk.news if e.name is EventName.SUSPENDED)
    assert (event.level, event.trade) == (Level.ERROR, "T1")
    assert event.text.startswith("T1: the exchange does not trade the symbol now, or no more")


def test_a_lasting_doubt_is_told_once() -> None:
    desk = Told()
    desk.open(100, "10")
    for _ in range(3):
        desk.event(Kind.POSITION, asset=FET, side=OrderSide.BUY, quantity_e8=q(30))
    doubts = [e.text for e in desk.events if e.name is EventName.DOUBT]
    assert doubts == ["T1 in doubt: here LONG 100, the exchange says LONG 30"]


def test_money_that_vanishes_is_told_and_so_is_its_end() -> None:
    desk = Told()
    desk.quiet_anchor("25000")
    desk.quiet_anchor("24970")
    assert desk.said == [
        "WARNING FROZEN entries stop, exits go on: pending drift: -30.00 (pending -30.00)",
    ]
    desk.now += 200_000
    desk.quiet_anchor("24970")
    assert [line.split(" ", 2)[:2] for line in desk.said] == [
        ["ERROR", "FROZEN"], ["INFO", "THAWED"], ["ERROR", "DRIFT"],
    ]  # fmt: skip
    desk.control(ControlAction.REBASE, amount=m("-30"), reason="eva: fee of the bank")
    assert desk.said[0] == "WARNING CONTROL checksum re-based by -30.00; eva: fee of the bank"
    assert desk.said[1] == "INFO THAWED no longer: unexplained drift; entries may go"
    assert desk.said[2] == "INFO DRIFT the exchange's wallet and our sums agree again"


def test_a_wallet_that_is_told_before_its_fill_is_no_news() -> None:
    """It happens with every trade; what stays without a cause for two minutes is told then."""
    desk = Told()
    desk.quiet_anchor("25000")
    desk.quiet_anchor("24999.875")
    assert desk.said == []
    desk.now += 200_000
    desk.quiet_anchor("24999.875")
    assert [line.split(" ", 2)[1] for line in desk.said] == ["DRIFT"]


def test_flows_of_the_account() -> None:
    desk = Told()
    desk.quiet_anchor("25000")
    desk.open(100, "10")
    desk.event(Kind.FUNDING_FEE, asset=FET, amount=m("-0.3"), event_id="f1")
    assert desk.said[0] == "INFO FUNDING -0.3000 on FET-USDT"
    desk.event(Kind.TRANSFER, amount=m("50"), event_id="t1")
    assert desk.said[0] == "WARNING TRANSFER +50.00 into the account"
    desk.event(Kind.FOREIGN_FLOW, asset="BTC-USDT", amount=m("-0.75"), event_id="x1")
    assert desk.said[0] == "INFO FOREIGN -0.7500 on BTC-USDT by somebody else on the account"


def test_a_hold_and_its_end_with_who_and_why() -> None:
    desk = Told()
    desk.control(ControlAction.HOLD, reason="eva: news")
    assert desk.said == ["WARNING HOLD held: no new entries; eva: news"]
    desk.enter()
    assert desk.said == [
        "WARNING REFUSED ENTER T1: LONG 100 FET-USDT MARKET, price about 10:"
        " entries are frozen: hold [ENTRIES_FROZEN]"
    ]
    desk.control(ControlAction.RESUME, reason="eva: over")
    assert desk.said == ["INFO RESUMED hold lifted; eva: over"]


def test_the_same_refusal_again_is_told_once_a_minute() -> None:
    desk = Told()
    desk.open(100, "10")
    told = []
    for _ in range(20):
        desk.now -= 9_000  # one a second
        desk.enter()
        told += desk.said
    assert len(told) == 1 and "SLOT_BUSY" in told[0]
    desk.now += 60_000
    desk.enter()
    assert desk.said[0].endswith("in use [SLOT_BUSY], 20 times by now")


def test_an_order_without_an_answer_and_its_end() -> None:
    desk = Told()
    desk.enter(100, "10")
    desk.order("T1", Kind.ORDER_UNKNOWN, venue_order_id="")
    assert desk.said == [
        "WARNING UNKNOWN no certain answer, BUY 100, entry of T1: it counts as live until it is"
        " found or proven absent"
    ]
    desk.order("T1", Kind.ORDER_ABSENT, venue_order_id="")
    assert desk.said[0] == (
        "WARNING ABSENT proven: the exchange never had it, BUY 100, entry of T1"
    )


def test_a_quote_that_is_taken_back_and_one_that_is_limited() -> None:
    desk = Told()
    desk.enter(100, "10", order_type=OrderType.LIMIT, limit_price_e10=p("9.9"))
    assert desk.said[1] == "INFO ORDER BUY 100 FET-USDT LIMIT 9.9, entry of T1"
    desk.fill("T1", 30, "9.9")
    desk.cancel()
    assert desk.said == [
        "INFO INTENT CANCEL what works of T1",
        "INFO CANCEL asked for, entry of T1",
    ]
    desk.order("T1", Kind.CANCEL_REJECT, error_code=80018, message="order is filled")
    assert desk.said == [
        "WARNING CANCEL_REFUSED by the exchange, entry of T1: code 80018 order is filled;"
        " the order is asked about"
    ]
    desk.order("T1", Kind.CANCEL_ACK, quantity_e8=q(30))
    assert desk.said == ["INFO ORDER_END taken back, entry of T1: 30 of 100 filled"]
    desk.exit()
    desk.order("X1", Kind.RATE_LIMITED, retry_after_ms=61_000, error_code=100410)
    assert desk.said[0] == (
        "WARNING RATE_LIMITED not taken, exit of T1: the exchange limits us for 61 s: code 100410"
    )


def test_quiet_inputs_are_told_only_when_everything_is() -> None:
    for trace, told in ((False, 0), (True, 3)):
        desk = Told(trace=trace)
        desk.open(100, "10")
        desk.events.clear()
        desk.event(Kind.POSITION, asset=FET, side=OrderSide.BUY, quantity_e8=q(100))
        desk.event(Kind.TICK)
        desk.event(Kind.FULL_FILL, asset="BTC-USDT", venue_order_id="5", client_order_id="theirs",
                   side=OrderSide.BUY, quantity_e8=q(1), price_e10=p(1))  # fmt: skip
        assert [e.level for e in desk.events] == [Level.DEBUG] * told


def test_a_strangers_position_is_told_when_it_changes_and_again_after_a_start() -> None:
    desk = Told()
    desk.open(100, "10")
    desk.close(100, "10")
    for quantity, words in (
        (500, "LONG 500 FET-USDT on the account is not ours"),
        (500, ""),
        (0, "nothing of others on FET-USDT any more"),
        (700, "LONG 700 FET-USDT on the account is not ours"),
    ):
        side = OrderSide.BUY if quantity else OrderSide.UNKNOWN
        desk.event(Kind.POSITION, asset=FET, side=side, quantity_e8=q(quantity))
        assert desk.said == ([f"INFO FOREIGN {words}"] if words else [])
    desk.teller.note(Note(1, "STARTED", {}))
    desk.event(Kind.POSITION, asset=FET, side=OrderSide.BUY, quantity_e8=q(700))
    assert len(desk.said) == 1


def test_detail_names_the_kernels_own_terms() -> None:
    desk = Desk()
    teller = Teller(desk.engine, detail=True)
    outcome = desk.enter(100, "10", side=LONG)
    first = teller.tell(desk.inputs[-1], outcome)[0]
    assert first.detail == "1 ENTER OK slot 0 IDLE>ENTRY_WORKING order 1 SUBMIT"
    assert first.line().endswith(f"  [{first.detail}]")


def test_a_line_stays_one_line_whatever_is_in_it() -> None:
    desk = Told()
    desk.enter(100, "10", reason="eva: \x1b[2J\nREADY: forged \u202e")
    line = desk.events[0].line()
    assert line.isprintable() and "\n" not in line
    assert line.startswith("1970-01-01T00:16:50.000Z INFO     INTENT")


def test_notes_of_the_runtime_read_as_sentences() -> None:
    teller = Teller(Desk().engine)

    def said(name: str, **fields: str | int) -> str:
        (event,) = teller.note(Note(0, name, fields), 7)
        return f"{event.level.name} {event.name.value} {event.text}"

    assert said("STATE", to="DEGRADED", namespace="pink") == "WARNING STATE DEGRADED: pink"
    assert said("GAP", why="closed 1006").endswith("missed something: closed 1006")
    assert said("HEALED", after_ms=2_300).endswith("queried again 2.3 s after the gap")
    assert said("something new", since=5) == "INFO NOTE something new: since 5"
    started = said("STARTED", version="1", whose="pink (vst)", pid=7, unclean=2)
    assert started == (
        "INFO STARTED pink-ctl 1 for pink (vst), process 7, after 2 that did not stop cleanly"
    )
