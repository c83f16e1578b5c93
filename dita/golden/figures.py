"""The figures that a step may expect: how each is written, read off the engine and compared.

The loader calls `expectations`, the checker `compare`.  Here are no rules of the kernel: what a
figure must be stands in the case, with its source.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from dita.contracts import (
    CapitalSource,
    DriftCause,
    Effect,
    EffectKind,
    KernelDiagnosticCode,
    KernelIntent,
    OrderType,
    ReconcileStatus,
    TradeRecord,
    TradeSlot,
    TradeStage,
    VenueOrder,
)
from dita.golden import keys
from dita.golden.case import CHILD_MARK, Case
from dita.golden.playing import Difference, Played, problem
from dita.identity import client_order_id
from dita.units import (
    format_money,
    format_price,
    format_quantity,
    parse_money,
    parse_quantity,
)


class _View:
    """What a step left behind, as the figures below read it."""

    def __init__(self, case: Case, played: Played, trade_id: str) -> None:
        self.case = case
        self.outcome = played.outcome
        self.engine = played.engine
        self.account = played.engine.snapshot
        self.kernel = played.engine.kernel
        self.trade_id = trade_id

    @property
    def slot(self) -> TradeSlot | None:
        """The slot that the trade is in."""
        found = [slot for slot in self.kernel.active_slots() if slot.trade_id == self.trade_id]
        return found[-1] if found else None

    @property
    def record(self) -> TradeRecord | None:
        """The trade's figures, in a slot or out of it."""
        return self.kernel.trade(self.trade_id)

    def of_slot(self, name: str, otherwise: Any = None) -> Any:
        """A field of the trade's slot."""
        slot = self.slot
        return otherwise if slot is None else getattr(slot, name)

    def of_trade(self, name: str) -> Any:
        """A field of the trade's record."""
        record = self.record
        return None if record is None else getattr(record, name)

    def of_outcome(self, name: str) -> Any:
        """A field of the kernel's outcome."""
        return None if self.outcome is None else getattr(self.outcome.kernel, name)

    def delta(self, name: str) -> Any:
        """A field of the outcome's transition, 0 when it had none."""
        transition = self.of_outcome("transition")
        return 0 if transition is None else getattr(transition, name)

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What the step asked the runtime to do."""
        return () if self.outcome is None else self.outcome.effects

    @property
    def size_e8(self) -> int | None:
        """What is left of the position."""
        record = self.record
        return None if record is None else record.entered_e8 - record.exited_e8

    def name_of(self, client_id: str) -> str:
        """An order's name in the case: the intent's id and, after the first, the child's number."""
        config = self.case.config
        steps = itertools.chain.from_iterable(v.steps for v in self.case.variants)
        intents = {s.record.intent_id for s in steps if isinstance(s.record, KernelIntent)}
        intents |= {f"recovery:{trade.trade_no}" for trade in self.kernel.trades()}
        for intent, child in itertools.product(sorted(intents), range(32)):
            if client_order_id(config.namespace, config.epoch, intent, child) == client_id:
                return f"{intent}{CHILD_MARK}{child}" if child else intent
        return client_id

    def submits(self) -> list[str]:
        """The orders to send, as `name: SIDE quantity`, with what is not a plain MARKET order."""
        return [self._submit(e) for e in self.effects if e.kind is EffectKind.SUBMIT]

    def _submit(self, effect: Effect) -> str:
        text = f"{self.name_of(effect.client_order_id)}: {effect.side.name} "
        text += format_quantity(effect.quantity_e8)
        if effect.order_type is OrderType.LIMIT:
            text += f" LIMIT {format_price(effect.price_e10)}"
        return text + (" reduce-only" if effect.reduce_only else "")

    def cancels(self) -> list[str]:
        """The orders to cancel, by name."""
        return [
            self.name_of(e.client_order_id) for e in self.effects if e.kind is EffectKind.CANCEL
        ]

    def orders(self) -> dict[str, str]:
        """Every order of the trade by name, and by venue id as `#id`: status, final, filled."""
        record = self.record
        if record is None:
            return {}
        found = {}
        for order in self.kernel.orders_of(record.trade_no):
            found[self.name_of(order.client_order_id)] = _order_text(order)
            if order.venue_order_id:
                found["#" + order.venue_order_id] = _order_text(order)
        return found

    def feedback(self) -> dict[str, int]:
        """What the sizer is told."""
        outcome = self.outcome
        return {} if outcome is None else {told.trade_id: told.pnl for told in outcome.feedback}


def _order_text(order: VenueOrder) -> str:
    status = order.status.name + (" final" if order.final else "")
    return f"{status} {format_quantity(order.filled_e8)}"


class _Figure(NamedTuple):
    """A key of `expect`: how its text is read, what it is compared with, how both are shown."""

    convert: keys.Convert
    read: Callable[[_View], Any]
    show: Callable[[Any], str] = str
    agree: Callable[[Any, Any], bool] = lambda expected, found: bool(expected == found)
    needs_input: bool = False


def _money(read: Callable[[_View], Any]) -> _Figure:
    return _Figure(parse_money, read, format_money)


def _quantity(read: Callable[[_View], Any]) -> _Figure:
    return _Figure(parse_quantity, read, format_quantity)


def _names(values: Any) -> str:
    return ", ".join(value.name for value in values) or "none"


def _listed(values: Any) -> str:
    return ", ".join(values) or "none"


def _pairs(values: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items()) or "none"


def _moneys(values: Any) -> str:
    return _pairs({key: format_money(amount) for key, amount in values.items()})


def _money_table(value: Any) -> dict[str, int]:
    return {key: parse_money(amount) for key, amount in keys.table(value).items()}


def _causes(value: Any) -> dict[str, int]:
    amounts = _money_table(value)
    known = [cause.value for cause in DriftCause]
    for key in amounts:
        if key not in known:
            raise keys.Wrong("causes out of " + ", ".join(known), key)
    return amounts


def _source(value: Any) -> str:
    known = [source.value for source in CapitalSource]
    if value not in known:
        raise keys.Wrong("one of " + ", ".join(known), value)
    return str(value)


def _texts_table(value: Any) -> dict[str, Any]:
    return {key: item for key, item in keys.table(value).items() if _scalar(item)}


def _scalar(value: Any) -> bool:
    if type(value) not in (str, int, bool):
        raise keys.Wrong("texts, whole numbers, true or false", value)
    return True


def _within(expected: Any, found: Any) -> bool:
    return found is not None and all(item in found for item in expected)


def _part(expected: dict[str, Any], found: Any) -> bool:
    return found is not None and expected.items() <= found.items()


def _as_money(quantity_e8: int | None) -> int | None:
    # A size may be negative (more out than in), which a quantity cannot say and money can.
    return None if quantity_e8 is None else quantity_e8 * 10**10


_FIGURES: Final[Mapping[str, _Figure]] = {
    # the outcome of this step's input
    "accepted": _Figure(keys.flag, lambda v: v.of_outcome("accepted"), needs_input=True),
    "code": _Figure(
        keys.named(KernelDiagnosticCode),
        lambda v: v.of_outcome("code"),
        lambda code: str(code.name),
        needs_input=True,
    ),
    "notes": _Figure(
        keys.all_named(KernelDiagnosticCode),
        lambda v: v.of_outcome("notes"),
        _names,
        _within,
        needs_input=True,
    ),
    "details": _Figure(
        _texts_table, lambda v: v.of_outcome("details"), _pairs, _part, needs_input=True
    ),
    "effects": _Figure(
        keys.all_named(EffectKind), lambda v: [e.kind for e in v.effects], _names, needs_input=True
    ),
    "submits": _Figure(keys.texts, _View.submits, _listed, needs_input=True),
    "cancels": _Figure(keys.texts, _View.cancels, _listed, needs_input=True),
    "feedback": _Figure(_money_table, _View.feedback, _moneys, needs_input=True),
    "realized_delta": _money(lambda v: v.delta("realized_delta"))._replace(needs_input=True),
    "trueup_delta": _money(lambda v: v.delta("trueup_delta"))._replace(needs_input=True),
    "fee_delta": _money(lambda v: v.delta("fee_delta"))._replace(needs_input=True),
    # the trade, in its slot
    "state": _Figure(
        keys.named(TradeStage),
        lambda v: v.of_slot("state", TradeStage.IDLE),
        lambda state: str(state.name),
    ),
    "slot": _Figure(keys.whole, lambda v: v.of_slot("slot_id")),
    "leg": _Figure(keys.whole, lambda v: v.of_slot("active_leg_index")),
    "leverage": _Figure(keys.whole, lambda v: v.of_slot("leverage")),
    "latched": _Figure(keys.flag, lambda v: v.of_slot("exit_latched", False)),
    "dust": _Figure(keys.flag, lambda v: v.of_slot("dust", False)),
    "margin": _money(lambda v: v.of_slot("initial_margin")),
    "unrealized": _money(lambda v: v.of_slot("unrealized")),
    # the trade, also after it has left its slot
    "size": _Figure(parse_money, lambda v: _as_money(v.size_e8), format_money),
    "entered": _quantity(lambda v: v.of_trade("entered_e8")),
    "exited": _quantity(lambda v: v.of_trade("exited_e8")),
    "entry_cost": _money(lambda v: v.of_trade("entry_cost")),
    "realized": _money(lambda v: v.of_trade("realized")),
    "trueup": _money(lambda v: v.of_trade("trueup")),
    "fees": _money(lambda v: v.of_trade("fees")),
    "pnl_source": _Figure(keys.text, lambda v: v.of_trade("pnl_source")),
    "record_closed": _Figure(keys.flag, lambda v: v.of_trade("closed")),
    "orders": _Figure(_texts_table, _View.orders, _pairs, _part),
    # the account
    "capital": _money(lambda v: v.account.capital),
    "capital_source": _Figure(_source, lambda v: v.account.capital_source.value),
    "wallet": _money(lambda v: v.account.e_wallet_balance),
    "k_capital": _money(lambda v: v.account.k_capital),
    "equity": _money(lambda v: v.account.equity),
    "available_margin": _money(lambda v: v.account.available_margin),
    "peak_capital": _money(lambda v: v.account.peak_capital),
    "account_realized": _money(lambda v: v.account.realized),
    "account_fees": _money(lambda v: v.account.fees),
    "funding": _money(lambda v: v.account.funding),
    "transfers": _money(lambda v: v.account.transfers),
    "open_notional": _money(lambda v: v.account.open_notional),
    "ambiguous": _money(lambda v: v.account.ambiguous),
    "drift": _money(lambda v: v.account.drift),
    "causes": _Figure(
        _causes, lambda v: {c.value: part for c, part in v.account.drift_by_cause.items()}, _moneys
    ),
    "status": _Figure(
        keys.named(ReconcileStatus), lambda v: v.account.status, lambda status: str(status.name)
    ),
    "frozen": _Figure(keys.texts, lambda v: list(v.kernel.freeze_causes()), _listed),
    # the kernel as a whole
    "slots_in_use": _Figure(keys.whole, lambda v: len(v.kernel.active_slots())),
    "trades_opened": _Figure(keys.whole, lambda v: v.kernel.trade_seq),
    "held": _Figure(keys.whole, lambda v: v.kernel.held_events),
}


def expectations(raw: dict[str, Any], where: str, has_input: bool) -> dict[str, Any]:
    """Convert what a step expects; an outcome can be expected of an input only."""
    known: dict[str, tuple[str, keys.Convert]] = {"trade": ("trade", keys.text)}
    known |= {key: (key, figure.convert) for key, figure in _FIGURES.items()}
    given = keys.fields(raw, known, where)
    for key in given:
        if key != "trade" and _FIGURES[key].needs_input and not has_input:
            expected = "a step with an input, as this figure belongs to its outcome"
            raise keys.refused(f"{where}.{key}", expected, "a step without", "move it to the input")
    return given


def compare(case: Case, played: Played) -> list[Difference]:
    """What is not as the step expects, now that it was played."""
    expect = played.step.expect
    if not expect:
        return []
    view = _View(case, played, expect.get("trade", case.trade))
    differences = []
    for key, expected in expect.items():
        if key == "trade":
            continue
        figure = _FIGURES[key]
        found = figure.read(view)
        if found is None or not figure.agree(expected, found):
            gone = "no such trade or outcome" if found is None else figure.show(found)
            differences.append(problem(played.step, key, figure.show(expected), gone))
    return differences
