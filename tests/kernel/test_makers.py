"""The makers of inputs: each gives the record that one would make by hand, in decimal text."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from support.engine_driver import SHORT, Desk, Kind, m, p, q

from dita import events, intents
from dita.contracts import (
    BalanceReason,
    ContractRules,
    ControlAction,
    EffectKind,
    EvidenceSource,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelIntent,
    OrderRole,
    OrderSide,
    OrderType,
    PositionSide,
    RejectReason,
    RiskLimit,
    TradeSide,
    TradeStage,
    VenueEvent,
)
from dita.engine import Engine, Outcome
from dita.errors import UnitError
from dita.units import format_money

COMMAND = KernelCommandType
RULES = ContractRules(
    tick_e10=p("0.0001"), step_e8=q("0.1"), min_quantity_e8=q(2), min_notional=m(5),
    taker_fee_e9=500_000, maker_fee_e9=0,
)  # fmt: skip
FET = intents.contract_rules(
    tick="0.0001", step="0.1", min_quantity="2", min_notional=Decimal(5), taker_fee="0.0005"
)
OF_T: dict[str, Any] = {"received_ms": 7, "intent_id": "i", "trade_id": "T"}
BY_HAND: dict[str, Any] = {"received_ms": 7, "intent_id": "i"}
AT: dict[str, Any] = {"received_ms": 7, "exchange_ms": 6}
ORDER: dict[str, Any] = {"client_order_id": "c", "venue_order_id": "9"}


def control(action: ControlAction, **fields: Any) -> KernelIntent:
    return KernelIntent(command=COMMAND.CONTROL, action=action, **BY_HAND, **fields)


def of_trade(command: KernelCommandType, **fields: Any) -> KernelIntent:
    return KernelIntent(command=command, **OF_T, **fields)


def event(kind: Kind, **fields: Any) -> VenueEvent:
    return VenueEvent(kind=kind, received_ms=7, **fields)


MADE: dict[str, tuple[object, object]] = {
    "contract_rules": (FET, RULES),
    "enter": (
        intents.enter(
            **OF_T, asset="FET-USDT", side=SHORT, quantity="12.5", price=Decimal("0.19"),
            contract=FET, leverage=2, legs=("0.5", "1"), expires_ms=9, deadline_ms=8, reason="why",
        ),
        of_trade(
            COMMAND.ENTER, asset="FET-USDT", side=SHORT, quantity_e8=q("12.5"),
            reference_price_e10=p("0.19"), contract=RULES, leverage=2,
            exit_leg_ratios_e9=(500_000_000, 10**9), expires_ms=9, deadline_ms=8, reason="why",
        ),
    ),
    "enter at a limit": (
        intents.enter(
            **OF_T, asset="A", side=TradeSide.LONG, quantity="1", price="2", contract=FET,
            limit_price="1.9", working_ms=500,
        ),
        of_trade(
            COMMAND.ENTER, asset="A", quantity_e8=q(1), reference_price_e10=p(2), contract=RULES,
            order_type=OrderType.LIMIT, limit_price_e10=p("1.9"), working_ms=500,
        ),
    ),
    "exit_": (intents.exit_(**OF_T), of_trade(COMMAND.EXIT)),
    "exit_ at once": (
        intents.exit_(**OF_T, quantity="5", limit_price="2", immediate=True, urgent=True),
        of_trade(
            COMMAND.EXIT, quantity_e8=q(5), order_type=OrderType.LIMIT_IOC, limit_price_e10=p(2),
            urgent=True,
        ),
    ),
    "cancel": (intents.cancel(**OF_T, deadline_ms=8), of_trade(COMMAND.CANCEL, deadline_ms=8)),
    "mark": (
        intents.mark(received_ms=7, asset="A", price="2"),
        KernelIntent(
            command=COMMAND.MARK_PRICE, received_ms=7, asset="A", reference_price_e10=p(2)
        ),
    ),
    "adopt": (
        intents.adopt(
            **OF_T, asset="A", side=SHORT, quantity="3", contract=FET, entry_price="2",
            carried_realized="-1.5", leverage=3,
        ),
        of_trade(
            COMMAND.RECONCILE, asset="A", side=SHORT, quantity_e8=q(3), contract=RULES,
            entry_cost=m(6), carried_realized=-m("1.5"), leverage=3,
        ),
    ),
    "adopt_order": (
        intents.adopt_order(**OF_T, role=OrderRole.EXIT, venue_order_id="9", quantity="3"),
        of_trade(
            COMMAND.RECONCILE, role=OrderRole.EXIT, venue_order_id="9", quantity_e8=q(3)
        ),
    ),
    "reconcile": (intents.reconcile(**OF_T), of_trade(COMMAND.RECONCILE)),
    "write_off": (
        intents.write_off(**OF_T, quantity="3", realized="-2", reason="gone"),
        of_trade(COMMAND.WRITE_OFF, quantity_e8=q(3), carried_realized=-m(2), reason="gone"),
    ),
    "hold": (
        intents.hold(**BY_HAND, reason="r", asset="A"),
        control(ControlAction.HOLD, reason="r", asset="A"),
    ),
    "resume": (
        intents.resume(**BY_HAND, reason="r", deadline_ms=8),
        control(ControlAction.RESUME, reason="r", deadline_ms=8),
    ),
    "drain": (intents.drain(**BY_HAND), control(ControlAction.DRAIN)),
    "drained": (intents.drained(**BY_HAND), control(ControlAction.DRAINED)),
    "not_ready": (
        intents.not_ready(**BY_HAND, reason="gap"), control(ControlAction.NOT_READY, reason="gap")
    ),
    "ready": (intents.ready(**BY_HAND), control(ControlAction.READY)),
    "rebase": (
        intents.rebase(**BY_HAND, amount="-0.01", reason="r"),
        control(ControlAction.REBASE, amount=-m("0.01"), reason="r"),
    ),
    "limit": (
        intents.limit(**BY_HAND, limit=RiskLimit.DAY_LOSS, amount="100.5"),
        control(ControlAction.LIMIT, limit=RiskLimit.DAY_LOSS, amount=m("100.5")),
    ),
    "limit of positions": (
        intents.limit(**BY_HAND, limit=RiskLimit.POSITIONS, amount="3"),
        control(ControlAction.LIMIT, limit=RiskLimit.POSITIONS, amount=3),
    ),
    "ack": (events.ack(**AT, **ORDER), event(Kind.ORDER_ACK, exchange_ms=6, **ORDER)),
    "fill": (
        events.fill(
            **AT, **ORDER, quantity="2", price="0.19", asset="A", side=OrderSide.BUY,
            position_side=PositionSide.SHORT, fee="0.1", realized=Decimal("-1"),
        ),
        event(
            Kind.PARTIAL_FILL, exchange_ms=6, **ORDER, quantity_e8=q(2), price_e10=p("0.19"),
            asset="A", side=OrderSide.BUY, position_side=PositionSide.SHORT, fee=m("0.1"),
            realized=-m(1),
        ),
    ),
    "execution": (
        events.execution(**AT, **ORDER, execution_id="e", quantity="2", price="0"),
        event(
            Kind.PARTIAL_FILL, exchange_ms=6, **ORDER, event_id="e", increment=True,
            quantity_e8=q(2),
        ),
    ),
    "cancelled": (
        events.cancelled(**AT, **ORDER), event(Kind.CANCEL_ACK, exchange_ms=6, **ORDER)
    ),
    "cancelled, expired": (
        events.cancelled(received_ms=7, expired=True), event(Kind.ORDER_EXPIRED)
    ),
    "cancel_rejected": (
        events.cancel_rejected(received_ms=7, **ORDER, message="no"),
        event(Kind.CANCEL_REJECT, **ORDER, message="no"),
    ),
    "rejected": (
        events.rejected(
            received_ms=7, client_order_id="c", reason=RejectReason.SUSPENDED, error_code=5,
            message="no",
        ),
        event(
            Kind.ORDER_REJECT, client_order_id="c", reject=RejectReason.SUSPENDED, error_code=5,
            message="no",
        ),
    ),
    "unknown": (
        events.unknown(received_ms=7, client_order_id="c"),
        event(Kind.ORDER_UNKNOWN, client_order_id="c"),
    ),
    "rate_limited": (
        events.rate_limited(received_ms=7, client_order_id="c", retry_after_ms=50),
        event(Kind.RATE_LIMITED, client_order_id="c", retry_after_ms=50),
    ),
    "absent": (
        events.absent(received_ms=7, client_order_id="c"),
        event(Kind.ORDER_ABSENT, client_order_id="c"),
    ),
    "final": (
        events.final(**AT, **ORDER, quantity="2", cost="0.38", fee="0.1", realized="0"),
        event(
            Kind.ORDER_FINAL, exchange_ms=6, **ORDER, quantity_e8=q(2), cost=m("0.38"),
            fee=m("0.1"), realized=0, source=EvidenceSource.FILL_HISTORY,
        ),
    ),
    "settled": (
        events.settled(received_ms=7, **ORDER, quantity="2", realized="-3"),
        event(Kind.FILL_SETTLED, **ORDER, quantity_e8=q(2), realized=-m(3)),
    ),
    "forced_close": (
        events.forced_close(
            **AT, asset="A", venue_order_id="9", quantity="2", price="1", side=OrderSide.SELL
        ),
        event(
            Kind.LIQUIDATION, exchange_ms=6, asset="A", venue_order_id="9", quantity_e8=q(2),
            price_e10=p(1), side=OrderSide.SELL,
        ),
    ),
    "position": (
        events.position(received_ms=7, asked_ms=6, asset="A", quantity="2", side=SHORT),
        event(
            Kind.POSITION, exchange_ms=6, asset="A", quantity_e8=q(2), side=OrderSide.SELL,
            source=EvidenceSource.ORDER_QUERY,
        ),
    ),
    "position, flat": (
        events.position(received_ms=7, asked_ms=6, asset="A", quantity="0", side=None),
        event(Kind.POSITION, exchange_ms=6, asset="A", source=EvidenceSource.ORDER_QUERY),
    ),
    "balance": (
        events.balance(**AT, asked_ms=5, wallet="25000", available_margin="20000"),
        event(
            Kind.ACCOUNT_UPDATE, exchange_ms=6, requested_ms=5, amount=m(25_000),
            available_margin=m(20_000), source=EvidenceSource.ORDER_QUERY,
        ),
    ),
    "balance_frame": (
        events.balance_frame(**AT, wallet="25000", reason=BalanceReason.FUNDING),
        event(
            Kind.ACCOUNT_UPDATE, exchange_ms=6, amount=m(25_000),
            balance_reason=BalanceReason.FUNDING,
        ),
    ),
    "funding": (
        events.funding(**AT, row_id="r", amount="-1", asset="A"),
        event(Kind.FUNDING_FEE, exchange_ms=6, event_id="r", amount=-m(1), asset="A"),
    ),
    "transfer": (
        events.transfer(**AT, row_id="r", amount="-1"),
        event(Kind.TRANSFER, exchange_ms=6, event_id="r", amount=-m(1)),
    ),
    "foreign_flow": (
        events.foreign_flow(**AT, row_id="r", amount="-1", reason=BalanceReason.FUNDING),
        event(
            Kind.FOREIGN_FLOW, exchange_ms=6, event_id="r", amount=-m(1),
            balance_reason=BalanceReason.FUNDING,
        ),
    ),
    "income_read": (events.income_read(**AT), event(Kind.INCOME_READ, exchange_ms=6)),
    "tick": (events.tick(received_ms=7), event(Kind.TICK)),
}  # fmt: skip


@pytest.mark.parametrize(("made", "by_hand"), MADE.values(), ids=MADE)
def test_a_maker_gives_the_record_that_one_would_make(made: object, by_hand: object) -> None:
    assert made == by_hand


def public(module: Any) -> dict[str, Callable[..., object]]:
    return {
        name: made
        for name, made in vars(module).items()
        if inspect.isfunction(made) and made.__module__ == module.__name__ and name[0] != "_"
    }


MAKERS = {**public(intents), **public(events)}


def test_every_maker_is_tried_above() -> None:
    assert {name.split()[0].rstrip(",") for name in MADE} == set(MAKERS)


AMOUNTS = [
    (name, field)
    for name, maker in MAKERS.items()
    for field, parameter in inspect.signature(maker).parameters.items()
    if "Amount" in str(parameter.annotation) and "Sequence" not in str(parameter.annotation)
]


@pytest.mark.parametrize(("name", "field"), AMOUNTS)
@pytest.mark.parametrize("odd", [5, 10**16, 1.5, True, b"1", "much", "1e400"], ids=repr)
def test_an_amount_that_is_no_decimal_text_is_refused(name: str, field: str, odd: object) -> None:
    """An int above all: it is most likely a scaled one, and would be taken for whole units."""
    fields: dict[str, Any] = {"immediate": False, field: odd}
    for parameter in inspect.signature(MAKERS[name]).parameters.values():
        if parameter.default is parameter.empty and parameter.name != field:
            fields[parameter.name] = _plain(parameter)
    fields = {k: v for k, v in fields.items() if k in inspect.signature(MAKERS[name]).parameters}
    with pytest.raises(UnitError, match="refused"):
        MAKERS[name](**fields)


def _plain(parameter: inspect.Parameter) -> object:
    kind = str(parameter.annotation)
    if "Amount" in kind:
        return "1"
    return {"int": 7, "str": "x", "RiskLimit": RiskLimit.DAY_LOSS, "TradeSide": SHORT}.get(
        kind, FET
    )


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: intents.exit_(**OF_T, quantity="0"), "quantity"),
        (lambda: intents.exit_(**OF_T, immediate=True), "limit_price"),
        (lambda: intents.write_off(**OF_T, quantity="0.0", reason="r"), "quantity"),
        (lambda: intents.limit(**BY_HAND, limit=RiskLimit.POSITIONS, amount="1.5"), "amount"),
        (lambda: intents.contract_rules(tick="1", step="1", taker_fee="-0.1"), "taker_fee"),
        (lambda: intents.contract_rules(tick="1", step="1", maker_fee="1.1"), "maker_fee"),
    ],
    ids=range(6),
)
def test_what_an_amount_cannot_mean_is_refused_by_name(
    make: Callable[[], object], field: str
) -> None:
    with pytest.raises(UnitError, match=f"^{field} refused"):
        make()


def test_a_trade_made_of_makers_ends_at_the_same_bytes_as_one_made_by_hand() -> None:
    desk = Desk()
    desk.quiet_anchor("25000")
    desk.open(100, "10", side=SHORT, contract=RULES)
    desk.exit()
    desk.fill("X1", 100, "9", full=False)
    desk.final("X1", 100, "900")
    desk.quiet_anchor("25100")
    engine, now = Engine(), [0]
    sent: dict[str, str] = {}

    def send(make: Callable[..., KernelIntent | VenueEvent], **fields: Any) -> Outcome:
        now[0] = desk.inputs[len(made)].received_ms
        made.append(make(received_ms=now[0], **fields))
        outcome = engine.apply(made[-1])
        assert outcome.kernel.accepted
        for effect in outcome.effects:
            if effect.kind is EffectKind.SUBMIT:
                sent[effect.trade_id] = effect.client_order_id
        return outcome

    made: list[KernelIntent | VenueEvent] = []
    trade: dict[str, Any] = {"trade_id": "T1"}
    at = desk.inputs[0].received_ms
    send(events.balance, asked_ms=at, exchange_ms=at, wallet="25000")
    send(
        intents.enter, intent_id="intent-1", **trade, asset="FET-USDT", side=SHORT, quantity="100",
        price="10", contract=FET,
    )  # fmt: skip
    entry: dict[str, Any] = {"client_order_id": sent["T1"], "venue_order_id": "9000"}
    for maker, fields in (
        (events.ack, {}),
        (events.fill, {"quantity": "100", "price": "10"}),
        (events.final, {"quantity": "100"}),
    ):
        send(maker, exchange_ms=desk.inputs[len(made)].received_ms, **entry, **fields)
    send(intents.exit_, intent_id="intent-2", **trade)
    leave: dict[str, Any] = {"client_order_id": sent["T1"], "venue_order_id": "9001"}
    for maker, fields in (
        (events.fill, {"quantity": "100", "price": "9"}),
        (events.final, {"quantity": "100", "cost": "900"}),
    ):
        send(maker, exchange_ms=desk.inputs[len(made)].received_ms, **leave, **fields)
    at = desk.inputs[len(made)].received_ms
    send(events.balance, asked_ms=at, exchange_ms=at, wallet="25100")
    assert format_money(engine.snapshot.capital) == "25100"
    assert engine.kernel.economic_hash() == desk.engine.kernel.economic_hash()
    assert engine.save() == desk.engine.save()


def test_the_commands_of_a_person_are_taken_as_made() -> None:
    engine = Engine()
    numbers = iter(range(1, 100))

    def send(make: Callable[..., KernelIntent], **fields: Any) -> Outcome:
        number = next(numbers)
        return engine.apply(make(received_ms=10**9 + number, intent_id=f"i{number}", **fields))

    send(intents.not_ready, reason="start")
    assert engine.kernel.freeze_causes() == ("not ready",)
    send(intents.ready)
    send(intents.hold, reason="look", asset="FET-USDT")
    assert engine.kernel.held_symbols() == ("FET-USDT",)
    send(intents.resume, reason="seen", asset="FET-USDT")
    send(intents.limit, limit=RiskLimit.POSITIONS, amount="1")
    assert engine.kernel.limits() == {RiskLimit.POSITIONS: 1}
    send(
        intents.adopt, trade_id="T", asset="FET-USDT", side=SHORT, quantity="100", contract=FET,
        entry_price="10",
    )  # fmt: skip
    slot = engine.kernel.slot(0)
    assert (slot.state, slot.entry_price_e10) == (TradeStage.POSITION_OPEN, p(10))
    outcome = send(
        intents.enter, trade_id="U", asset="TRX-USDT", side=SHORT, quantity="100", price="1",
        contract=FET,
    )  # fmt: skip
    assert outcome.kernel.code is KernelDiagnosticCode.RISK_LIMIT
    send(intents.limit, limit=RiskLimit.POSITIONS, amount="0")
    assert engine.kernel.limits() == {}
    send(intents.drain)
    send(intents.drained)
    assert engine.kernel.freeze_causes() == ()
    outcome = send(intents.rebase, amount=format_money(-(10**16)), reason="rounding")
    assert engine.kernel.ledger().adjustments == -(10**16)
