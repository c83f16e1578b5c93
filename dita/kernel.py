"""ExecutionKernel: the contracts on one side, the compiled core on the other.

The engine calls it; it is the only importer of ``_kernel``.  It turns texts into keys and integers
into records and back, and it says in words what a refusal means.  It knows nothing of the account
beyond the figures that it hands out, nothing of venues, files or time.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dita import _kernel
from dita.contracts import (
    ENDED_STATUSES,
    NO_DETAILS,
    SEVERITY,
    AccountSnapshot,
    BalanceReason,
    CapitalSource,
    ContractRules,
    ControlAction,
    Effect,
    EffectKind,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelEventKind,
    KernelIntent,
    KernelOutcome,
    KernelSeverity,
    KernelTransition,
    OrderRole,
    OrderSide,
    OrderType,
    RejectReason,
    RiskLimit,
    TradeRecord,
    TradeSide,
    TradeSlot,
    TradeStage,
    VenueEvent,
    VenueOrder,
    VenueOrderStatus,
)
from dita.errors import BadField, KernelFault, OperatorError, shown
from dita.fields import mistyped
from dita.frozen import FrozenDict
from dita.identity import (
    ASSET_KEYS,
    HASHED,
    VENUE_KEYS,
    Names,
    asset_key_of,
    client_order_id,
    foreign_client_key,
    is_own_client_id,
    key_of,
    venue_key_of,
)
from dita.refusals import EXPECTED, FREEZE_CAUSES, field_of, value_of
from dita.transitions import RULES, TRANSITIONS
from dita.units import format_money, format_quantity

#: Which tables a saved state is made of: two kernels with the same one can read each other's.
LAYOUT: Final = hashlib.blake2b(repr(_kernel.LAYOUT).encode(), digest_size=6).hexdigest()
#: An ENTER is refused when the newest balance is older than this (design §7).
BALANCE_MAX_AGE_MS: Final = 60_000
_DUST: Final = 2
#: Which limit a RISK_LIMIT is about, by the name of its field.
_LIMIT_FIELDS: Final = {
    _kernel.FIELDS[_kernel.NUMBERS["FIELDS"][f"FIELD_LIMIT_{limit}"]]: limit for limit in RiskLimit
}
_COUNTED_LIMITS: Final = frozenset({RiskLimit.POSITIONS, RiskLimit.INTENTS_PER_MINUTE})
#: An input in the packed form: what the core takes and what the journal keeps (``pack`` of it).
PackedInput = _kernel.Event
_report = _kernel.report

if TYPE_CHECKING:
    from typing_extensions import Buffer


def _amount_of(i: KernelIntent) -> int | None:
    # One money field of the packed form serves both: each command has only one of the two.
    if i.command == KernelCommandType.CONTROL:
        return (i.carried_realized or None) if i.amount is None else i.amount
    if i.amount is not None:
        raise BadField("amount", i.amount, "an amount for CONTROL only")
    return i.carried_realized


def _table() -> dict[tuple[int, int], tuple[int, int, int]]:
    return {
        (int(state), int(trigger)): (
            RULES.index(cell.rule),
            int(cell.refusal),
            sum(1 << s for s in cell.next_states),
        )
        for (state, trigger), cell in TRANSITIONS.items()
    }


class KernelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a kernel is made with; part of its saved state.

    The defaults are for tests: with them an ENTER passes without any balance, and two kernels give
    their orders the same ids.  To trade, take ``for_trading``.
    """

    slot_limit: int = 16
    hedge: bool = False
    leverage_cap: int = 3
    namespace: str = "pink"
    epoch: int = 1
    seen: int = 65_536
    balance_max_age_ms: int = 0
    figure_tolerance: int = 10**16
    seed: int = 0
    #: Epochs that this one goes on from, oldest first: number, and the last own order that was of
    #: it.  Their client order ids stay as they were.
    earlier: tuple[tuple[int, int], ...] = ()

    @classmethod
    def for_trading(
        cls,
        *,
        namespace: str,
        epoch: int,
        balance_max_age_ms: int = BALANCE_MAX_AGE_MS,
        slot_limit: int = 16,
        hedge: bool = False,
        leverage_cap: int = 3,
        figure_tolerance: int = 10**16,
    ) -> KernelConfig:
        """The configuration of a kernel that sends real orders.

        No ENTER without a balance of at most ``balance_max_age_ms``.  ``namespace`` and ``epoch``
        make the client order ids: no other kernel on the account has both, and a new state after a
        lost one takes a new epoch (the time in ms when it is made will do).  OperatorError for
        settings that would trade blindly.
        """
        for name, value, is_safe, expected in (
            ("namespace", namespace, namespace != "", "a name that no other kernel there has"),
            (
                "epoch",
                epoch,
                epoch >= 1,
                "a number from 1 up, new for the namespace",
            ),
            ("balance_max_age_ms", balance_max_age_ms, balance_max_age_ms >= 1, "at least 1 ms"),
        ):
            if not is_safe:
                raise OperatorError(
                    f"{name} refused for trading", expected=expected, found=shown(value)
                )
        return cls(
            slot_limit=slot_limit,
            hedge=hedge,
            leverage_cap=leverage_cap,
            namespace=namespace,
            epoch=epoch,
            balance_max_age_ms=balance_max_age_ms,
            figure_tolerance=figure_tolerance,
        )


class _Saved(msgspec.Struct, frozen=True):
    config: bytes  # JSON: money passes 64 bits
    core: bytes
    trades: list[tuple[int, str]]
    intents: list[tuple[int, str]]
    assets: list[tuple[int, str]]
    venue_ids: list[tuple[int, str]]


class Ledger(msgspec.Struct, frozen=True):
    """The money figures of the core, as the account reads them (all in 10^-18)."""

    seed: int
    realized: int
    trueup: int
    fees: int
    funding: int
    transfers: int
    adjustments: int
    wallet: int
    available_margin: int
    bridged: int
    ambiguous: int
    fees_estimated: int
    anchor_ms: int
    anchor_received_ms: int
    frozen: int
    seeded: bool
    anchored: bool
    anchor_quiet: bool
    anchor_reason: int
    ambiguous_count: int
    bridged_count: int
    unsettled: int
    routed_by_state: int
    flow_total: int
    peak: int
    foreign: int
    income_from_ms: int
    income_read_ms: int
    foreign_funding: int
    foreign_transfers: int
    exchange_offset_ms: int
    clamped: int

    @property
    def told_ms(self) -> int:
        """Up to when the wallet's rows have been read; without a reader only anchors tell time."""
        if self.income_read_ms > self.income_from_ms:
            return self.income_read_ms
        return self.anchor_ms

    @property
    def k_capital(self) -> int:
        """K: the seed and every flow since."""
        k = self.seed + self.realized + self.trueup - self.fees + self.funding
        return k + self.transfers + self.adjustments


class ExecutionKernel:
    """Slots, orders and trades behind one ``apply``.

    ``apply`` takes a KernelIntent or a VenueEvent and always answers with a KernelOutcome; what it
    refuses has changed nothing.  It raises OperatorError for an object that is neither, KernelFault
    when an invariant is broken.
    """

    def __init__(self, config: KernelConfig | None = None) -> None:
        self.config = config or KernelConfig()
        c = self.config
        self._core = _kernel.Core(
            c.slot_limit,
            _table(),
            hedge=int(c.hedge),
            leverage_cap=c.leverage_cap,
            seen=c.seen,
            balance_max_age_ms=c.balance_max_age_ms,
            figure_tolerance_e18=c.figure_tolerance,
            seed=c.seed,
        )
        #: The account now; takes what only the account knows, its last three figures, on drift.
        self.account_snapshot = partial(self._core.account, AccountSnapshot, _SOURCES)
        self._names = Names(self._forget)
        #: Refusals by code since the process started.  Observation only: not part of the state.
        self.refusals: Counter[KernelDiagnosticCode] = Counter()

    # -- in ----------------------------------------------------------------------------------------

    def pack(self, record: KernelIntent | VenueEvent) -> _kernel.Event:
        """The record as the core takes it.  Raises BadField for what no packed record can hold."""
        try:
            if isinstance(record, VenueEvent):
                return self._pack_event(record)
            if isinstance(record, KernelIntent):
                return self._pack_intent(record)
        except Exception as odd:  # a foreign value may raise anything when it is read
            raise _bad_field(record, odd) from odd
        raise OperatorError(
            "input refused",
            expected="a KernelIntent or a VenueEvent",
            found=type(record).__name__,
            action="normalise it first",
        )

    def _pack_event(self, e: VenueEvent) -> _kernel.Event:
        # Once per event: what is looked up is looked up here, without further calls.
        names, venue_id, client_id = self._names, e.venue_order_id, e.client_order_id
        asset_key = ASSET_KEYS[e.asset]
        venue_key = VENUE_KEYS[venue_id]
        client_key, own_shape = 0, False
        if client_id != "":
            client_key = names.clients.get(client_id, 0)
            if not client_key:
                client_key = foreign_client_key(client_id)
                own_shape = is_own_client_id(client_id)
        order_event = e.kind not in _ACCOUNT_KINDS
        # What the packed form leaves out, or takes by its truth, is held to its type here.
        if order_event:
            odd = e.amount is not None or e.available_margin != 0 or e.balance_reason is not _UNSAID
        else:
            odd = e.realized is not None or e.reject is not _OTHER or e.available_margin is None
        if odd or e.message != "" or (e.increment is not False and e.increment is not True):
            _check_types(e)
        if venue_key >= HASHED:
            names.remember_venue_id(venue_key, venue_id)
        return _report(
            e.kind,
            e.received_ms,
            e.exchange_ms,
            key_of(e.event_id, "event_id") if e.event_id != "" else 0,
            asset_key,
            venue_key,
            client_key,
            e.slot_id,
            e.side,
            e.quantity_e8,
            e.increment,
            e.price_e10,
            e.last_quantity_e8,
            e.last_price_e10,
            e.cost,
            e.fee,
            e.realized if order_event else e.amount,
            e.source,
            e.reject if order_event else e.balance_reason,
            e.retry_after_ms,
            e.requested_ms,
            None if order_event else e.available_margin,
            e.position_side,
            e.error_code,
            own_shape,
        )

    def _pack_intent(self, i: KernelIntent) -> _kernel.Event:
        rules = i.contract
        control = i.command == KernelCommandType.CONTROL
        quarantine = control and i.action == ControlAction.QUARANTINE
        _check_unpacked(i)
        return _kernel.Event().command(
            i.command,
            i.received_ms,
            key_of(i.intent_id, "intent_id"),
            key_of(i.trade_id, "trade_id"),
            asset_key_of(i.asset),
            i.slot_id,
            i.side,
            i.quantity_e8,
            i.reference_price_e10,
            i.limit_price_e10,
            i.order_type,
            i.rules_version if quarantine else i.leverage,
            i.exit_leg_ratios_e9,
            i.urgent,
            i.quarantined_seq if quarantine else i.expires_ms,
            i.working_ms,
            (i.limit if control else i.role) or 0,
            self._venue_key(i.venue_order_id),
            i.action or 0,
            i.entry_cost,
            _amount_of(i),
            None
            if rules is None
            else (
                rules.tick_e10,
                rules.step_e8,
                rules.min_quantity_e8,
                rules.min_notional,
                rules.taker_fee_e9,
                rules.maker_fee_e9,
            ),
            i.deadline_ms,
        )

    def _venue_key(self, text: str) -> int:
        key = venue_key_of(text)
        if key >= HASHED:
            self._names.remember_venue_id(key, text)
        return key

    def apply(
        self, record: KernelIntent | VenueEvent, packed: _kernel.Event | None = None
    ) -> KernelOutcome:
        """Apply one input and say what it did.  ``packed`` is its form in the journal, if that is
        where it comes from."""
        trigger: KernelCommandType | KernelEventKind
        intent = None
        try:
            if isinstance(record, VenueEvent):
                trigger = record.kind
                event = packed or self._pack_event(record)
            else:
                event = packed or self.pack(record)
                trigger = record.command
                intent = record
        except Exception as odd:  # noqa: BLE001 - a foreign value may raise anything when it is read
            return self._malformed(record, _bad_field(record, odd))
        try:
            raw = self._core.apply(event)
        except _kernel.Fault as fault:
            raise KernelFault(
                "kernel invariant broken",
                expected="every input to be refused, or applied within the transition table",
                found=f"{fault} at input {shown(record)}",
                action="stop, keep the journal, report it",
            ) from fault
        # Not a function of its own: this is the way of every input.
        accepted, number, event_seq, transition, notes, effects = raw.told(
            KernelTransition, trigger, _STAGES
        )
        code, severity = _CODES[number]
        if not accepted:
            self.refusals[code] += 1
        elif intent is not None:
            self.learn(intent)
        return KernelOutcome(
            accepted, code, severity, trigger, event_seq, transition,
            _notes(notes) if notes else (),
            self.effects() if effects else (),
            self._details(raw, code, record) if number else NO_DETAILS,
        )  # fmt: skip

    @staticmethod
    def unpacked(packed: bytes) -> _kernel.Event:
        """The event of a packed record."""
        return _kernel.Event.unpack(packed)

    def apply_batch(self, inputs: Buffer, outcomes: Buffer, stop_at_account: bool = False) -> int:
        """Apply packed inputs in one call; see ``Core.apply_batch``.  Names are learnt apart."""
        try:
            return self._core.apply_batch(inputs, outcomes, stop_at_account)
        except BadField as bad:
            raise OperatorError(
                "batch refused", expected=bad.expected, found=f"{bad.field} of {bad.found}"
            ) from bad
        except _kernel.Fault as fault:
            raise KernelFault("kernel invariant broken", found=str(fault)) from fault

    @staticmethod
    def record_sizes() -> tuple[int, int]:
        """Bytes of a packed input and of a packed outcome."""
        return _kernel.INPUT_SIZE, _kernel.OUTCOME_SIZE

    @staticmethod
    def peek(packed: bytes, outcome: bytes) -> tuple[int, bool, bool]:
        """(kind, was it accepted, does it re-base K) of a packed input and its outcome."""
        event = _kernel.Event.unpack(packed)
        return event.kind, _kernel.Outcome.unpack(outcome).accepted, event.rebases

    # -- names -------------------------------------------------------------------------------------

    def learn(self, intent: KernelIntent) -> None:
        """Remember the texts behind an intent's keys."""
        self._names.learn(intent.trade_id, intent.intent_id, intent.asset)
        if len(self._names.intents) > self._names.limit:
            self._forget()

    def _forget(self) -> None:
        self._take_names(self._names_in_use())

    def _names_in_use(self) -> tuple[list[tuple[int, str]], ...]:
        trades = self._core.trades()
        orders = [order for t in trades for order in self._orders_of(t)]
        return self._names.in_use(
            {t[1] for t in trades},
            {o[2] for o in orders} | {self._core.slot(i)[12] for i in self._core.active_slots()},
            {t[2] for t in trades} | set(self._core.symbol_holds()),
            {o[1] for o in orders} | set(self._core.held_venue_keys()),
        )

    def _take_names(self, saved: tuple[list[tuple[int, str]], ...]) -> None:
        names = self._names
        trades, intents, assets, venue_ids = saved
        names.trades, names.intents = dict(trades), dict(intents)
        names.assets, names.venue_ids = dict(assets), dict(venue_ids)
        self.index_clients()

    def index_clients(self) -> None:
        """Rebuild the map of client order ids; after a batch or a restore."""
        self._names.orders = {
            order[0]: self._client_id(order[0], order[2], order[3], order[11])
            for trade in self._core.trades()
            for order in self._orders_of(trade)
            if not order[10]  # a close that was not ours has no client id of ours
        }
        self._names.clients = {text: number for number, text in self._names.orders.items()}
        self._names.set_limit()

    def _orders_of(self, trade: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        found = (self._core.order(order_no) for order_no in trade[19])
        return [order for order in found if order is not None]

    def _client_id(self, order_no: int, intent_key: int, trade_no: int, child: int) -> str:
        # An exit that no intent asked for (a recovery slot's) is named after its trade.
        intent_id = (
            self._names.intents.get(intent_key, "") if intent_key else f"recovery:{trade_no}"
        )
        earlier = (epoch for epoch, last in self.config.earlier if order_no <= last)
        epoch = next(earlier, self.config.epoch)
        return client_order_id(self.config.namespace, epoch, intent_id, child)

    # -- out ---------------------------------------------------------------------------------------

    def effects(self) -> tuple[Effect, ...]:
        """What the last input asked the runtime to do, in order."""
        return tuple(self._effect(raw) for raw in self._core.effects())

    def _effect(self, raw: tuple[Any, ...]) -> Effect:
        kind, slot, order_no, trade_no, asset_key, quantity, price, realized, fees = raw[:9]
        (
            side,
            order_type,
            reduce_only,
            venue_key,
            child,
            intent_key,
            trade_key,
            external,
            *trade_terms,
        ) = raw[9:]
        client_id = ""
        if order_no:
            client_id = self._client_id_of(order_no, intent_key, trade_no, child, external)
        names = self._names
        return Effect(
            _EFFECTS[kind], slot, trade_no, names.trades.get(trade_key, ""), order_no, client_id,
            names.venue_id(venue_key), names.assets.get(asset_key, ""), _SIDES[side],
            _TYPES[order_type], quantity, price, bool(reduce_only), realized, fees, *trade_terms,
        )  # fmt: skip

    def _client_id_of(
        self, order_no: int, intent_key: int, trade_no: int, child: int, external: bool
    ) -> str:
        """An order's client id; a close that was not ours has none."""
        if external:
            return ""
        names = self._names
        known = names.orders.get(order_no)
        if known is None:
            known = self._client_id(order_no, intent_key, trade_no, child)
            names.orders[order_no] = known
            names.clients[known] = order_no
            if len(names.orders) > names.limit:
                self._forget()
        return known

    def _details(
        self, raw: _kernel.Outcome, code: KernelDiagnosticCode, record: KernelIntent | VenueEvent
    ) -> FrozenDict[str, str | int | bool]:
        details: dict[str, str | int | bool] = {}
        if raw.field:
            field = field_of(record, raw.field)
            details["field"] = field
            details["value"] = shown(value_of(record, field))
            details["expected"] = EXPECTED.get(field, "a valid value")
        if code is KernelDiagnosticCode.RATE_LIMITED:
            details["retryable"] = True
            if raw.retry_after_ms:
                details["retry_after_ms"] = raw.retry_after_ms
            else:
                details["release_eta"] = "few minutes"
        if code is KernelDiagnosticCode.UNRESOLVED_SLOT and isinstance(record, VenueEvent):
            details["venue_order_id"] = record.venue_order_id
            details["client_order_id"] = record.client_order_id
            details["asset"] = record.asset
        if code is KernelDiagnosticCode.ENTRIES_FROZEN:
            details["causes"] = ", ".join(self.freeze_causes())
        if isinstance(record, KernelIntent):
            self._explain_refusal(details, code, raw.field, record)
        elif code is KernelDiagnosticCode.VENUE_REJECTED:
            self._explain_rejection(details, record)
        return FrozenDict(details)

    def _explain_refusal(
        self,
        details: dict[str, str | int | bool],
        code: KernelDiagnosticCode,
        field: str,
        intent: KernelIntent,
    ) -> None:
        if code is KernelDiagnosticCode.FOREIGN_POSITION:
            quantity = self.foreign_quantity_e8(intent.asset, intent.side)
            details["foreign_quantity"] = format_quantity(quantity)
        elif code is KernelDiagnosticCode.RISK_LIMIT:
            value = self._core.limits()[_LIMIT_FIELDS[field]]
            counted = _LIMIT_FIELDS[field] in _COUNTED_LIMITS
            details["expected"] = f"at most {value if counted else format_money(value)}"
        elif code is KernelDiagnosticCode.VENUE_ERRORS:
            counts = sorted(self.venue_errors().items())
            details["errors"] = ", ".join(f"{c}: {n} times in 480 s" for c, n in counts)

    @staticmethod
    def _explain_rejection(details: dict[str, str | int | bool], event: VenueEvent) -> None:
        if event.error_code:
            details["error_code"] = event.error_code
        if event.message:
            details["message"] = event.message
        if event.reject is RejectReason.POSITION_MISMATCH:
            details["hint"] = "the position may be smaller, or locked by a TP/SL set by hand"

    def _malformed(self, record: KernelIntent | VenueEvent, bad: ValueError) -> KernelOutcome:
        field, value, expected = bad.args
        is_intent = isinstance(record, KernelIntent)
        code = (
            KernelDiagnosticCode.INVALID_INTENT if is_intent else KernelDiagnosticCode.INVALID_EVENT
        )
        self.refusals[code] += 1
        return KernelOutcome(
            accepted=False,
            code=code,
            severity=KernelSeverity.ERROR,
            trigger=record.command if isinstance(record, KernelIntent) else record.kind,
            event_seq=self._core.event_seq,
            details=FrozenDict(field=field, value=shown(value), expected=expected),
        )

    # -- views -------------------------------------------------------------------------------------

    @property
    def slot_count(self) -> int:
        """Slots of the table, the recovery slots behind ``slot_limit`` included."""
        return self._core.slots

    @property
    def event_seq(self) -> int:
        """Inputs applied so far."""
        return self._core.event_seq

    @property
    def trade_seq(self) -> int:
        """Trades opened so far."""
        return self._core.trade_seq

    @property
    def now_ms(self) -> int:
        """Time of the newest applied input."""
        return self._core.now_ms

    @property
    def order_seq(self) -> int:
        """Own orders made; the number of the newest one."""
        return self._core.order_seq

    @property
    def last_fill_ms(self) -> int:
        """Time of the newest fill by the venue's clock; 0 for none."""
        return self._core.last_fill_ms

    @property
    def due_ms(self) -> int:
        """When a TICK would do something (a time not after now: at once); 0 when nothing waits."""
        return self._core.due_ms

    def open_orders(self) -> tuple[VenueOrder, ...]:
        """Every order that is not terminal, oldest first."""
        numbers = sorted(n for t in self._core.trades() if t[15] for n in t[19])
        orders = (self.order(n) for n in numbers)
        return tuple(
            o for o in orders if o is not None and not (o.final and o.status in ENDED_STATUSES)
        )

    def unwanted_orders(self) -> tuple[VenueOrder, ...]:
        """Live orders whose cancel was asked for: it can be lost, or die with the process."""
        orders = (self.order(number) for number in self._core.unwanted_orders())
        return tuple(order for order in orders if order is not None)

    @property
    def held_events(self) -> int:
        """Events that wait for the answer to a submit."""
        return self._core.held

    def slot(self, slot_id: int) -> TradeSlot:
        """One slot as it stands.  OperatorError when there is no such slot."""
        try:
            raw = self._core.slot(slot_id)
        except BadField as bad:
            raise OperatorError("no such slot", expected=bad.args[2], found=str(slot_id)) from bad
        trade = self._core.trade_in_slot(slot_id)
        if trade is None:
            return msgspec.structs.replace(_FREE_SLOT, slot_id=slot_id)
        goal = raw[7]
        return TradeSlot(
            slot_id=slot_id,
            state=TradeStage(raw[0]),
            closed=False,
            trade_no=trade[0],
            trade_id=self._names.trades.get(trade[1], ""),
            asset=self._names.assets.get(trade[2], ""),
            side=TradeSide(trade[3]),
            leverage=trade[4],
            size_e8=trade[5] - trade[8] + trade[20],
            entered_e8=trade[5],
            entry_priced_e8=trade[6],
            entry_cost=trade[7],
            exited_e8=trade[8],
            realized=trade[9],
            trueup=trade[10],
            fees=trade[11],
            unrealized=_unrealized(trade, raw[8]),
            mark_price_e10=raw[8],
            active_leg_index=raw[6],
            exit_leg_ratios_e9=trade[18],
            exit_latched=raw[2],
            exit_goal_e8=min(goal, trade[5]) if raw[2] else 0,
            dust=bool(raw[1] & _DUST),
            active_entry_order=self.order(raw[4]),
            active_exit_order=self.order(raw[5]),
            pnl_source=_pnl_source(trade),
        )

    def active_slots(self) -> tuple[TradeSlot, ...]:
        """Every slot in use."""
        return tuple(self.slot(i) for i in self._core.active_slots())

    def order(self, order_no: int) -> VenueOrder | None:
        """One order of the registry, None when it is not (or no longer) there."""
        raw = self._core.order(order_no) if order_no else None
        if raw is None:
            return None
        return VenueOrder(
            order_no=raw[0],
            client_order_id=self._client_id_of(raw[0], raw[2], raw[3], raw[11], raw[10]),
            venue_order_id=self._names.venue_id(raw[1]),
            trade_no=raw[3],
            slot_id=raw[4],
            role=OrderRole(raw[5]),
            side=OrderSide(raw[6]),
            order_type=OrderType(raw[7]),
            status=VenueOrderStatus(raw[8]),
            final=raw[9],
            external=raw[10],
            child=raw[11],
            intended_e8=raw[12],
            filled_e8=raw[13],
            priced_e8=raw[14],
            cost=raw[15],
            cost_rank=raw[16],
            fee=raw[17],
            fee_rank=raw[18],
            realized=raw[19],
            realized_rank=raw[20],
            realized_quantity_e8=raw[21],
            limit_price_e10=raw[22],
        )

    def order_of_client(self, client_id: str) -> VenueOrder | None:
        """The own order with this client order id."""
        return self.order(self._names.clients.get(client_id, 0))

    def order_of_venue(self, venue_order_id: str) -> VenueOrder | None:
        """The order of ours with this id of the venue; closes from outside count as ours."""
        key = venue_key_of(venue_order_id) if venue_order_id else 0
        return self.order(self._core.order_of_venue(key)) if key else None

    def trade(self, trade_id: str) -> TradeRecord | None:
        """The newest trade with this id, also after it has left its slot."""
        key = key_of(trade_id, "trade_id")
        found = [t for t in self._core.trades() if t[1] == key]
        return self._record(max(found)) if found else None

    def trade_of(self, trade_no: int) -> TradeRecord | None:
        """The trade with this number, None when it has been given up."""
        trade = self._core.trade(trade_no)
        return self._record(trade) if trade else None

    def trades(self) -> tuple[TradeRecord, ...]:
        """Every trade that has not been given up, oldest first."""
        return tuple(self._record(t) for t in sorted(self._core.trades()))

    def asset_of(self, trade_no: int) -> str:
        """Symbol of a trade, "" when it has been given up."""
        trade = self._core.trade(trade_no)
        return self._names.assets.get(trade[2], "") if trade else ""

    def orders_of(self, trade_no: int) -> tuple[VenueOrder, ...]:
        """The orders of a trade, oldest first."""
        trade = self._core.trade(trade_no)
        orders = (self.order(n) for n in trade[19]) if trade else ()
        return tuple(order for order in orders if order is not None)

    def _record(self, trade: tuple[Any, ...]) -> TradeRecord:
        return TradeRecord(
            trade_no=trade[0],
            trade_id=self._names.trades.get(trade[1], ""),
            asset=self._names.assets.get(trade[2], ""),
            side=TradeSide(trade[3]),
            entered_e8=trade[5],
            entry_cost=trade[7],
            exited_e8=trade[8],
            realized=trade[9],
            trueup=trade[10],
            fees=trade[11],
            pnl_source=_pnl_source(trade),
            closed=bool(trade[17]),
        )

    def ledger(self) -> Ledger:
        """The money figures."""
        return Ledger(*self._core.ledger())

    def exposure(self) -> tuple[int, int, int]:
        """(slots with a position, their notional, their unrealized PnL)."""
        return self._core.exposure()

    def estimated_fees(self, told_ms: int) -> int:
        """Fees that are still estimates, of fills whose income rows may not have been read."""
        return self._core.estimated_fees(told_ms)

    def unsettled_bound(self, told_ms: int) -> int:
        """How far the result of exits without price and figure can be from 0, for such fills."""
        return self._core.unsettled_bound(told_ms)

    def is_own_order(self, venue_order_id: str) -> bool:
        """Was this ever an order of the registry?  Exact for every order that an income row can
        still name: ids are kept until income was read well past their last fill."""
        return self._core.is_own(venue_key_of(venue_order_id)) if venue_order_id else False

    def limits(self) -> dict[RiskLimit, int]:
        """The limits for new risk that are set; money in 10^-18, counts as they are."""
        found = self._core.limits()
        return {limit: found[limit] for limit in RiskLimit if found[limit]}

    def venue_errors(self) -> dict[int, int]:
        """Rejections by the venue's code within the window in which it counts equal ones."""
        return self._core.errors(self.now_ms)

    def foreign_quantity_e8(self, asset: str, side: TradeSide = TradeSide.LONG) -> int:
        """Signed quantity on a symbol (in hedge mode on that side of it) that is not ours."""
        return self._core.foreign_here(asset_key_of(asset), side)

    def missing_e8(self, slot_id: int) -> int:
        """Quantity of a slot that WRITE_OFF would take now: a position shows less, everything of
        ours is certain, and income was read well past it.  0 while any record may still tell."""
        return self._core.missing(slot_id)

    def proof_of(self, slot_id: int) -> tuple[int, int, int]:
        """(proven quantity, when that was asked for, since when less than ours was shown) of a
        slot; times by the venue's clock, 0 for never."""
        raw = self._core.slot(slot_id)
        return raw[11], raw[13], raw[14]

    def slot_fill_ms(self, slot_id: int) -> int:
        """When a slot's position changed last by a fill that is known, by the venue's clock; 0 for
        never."""
        return int(self._core.slot(slot_id)[16])

    def judge(self, pending: bool, unexplained: bool) -> bool:
        """Hand the account's judgement to the core; True when it changed the freeze."""
        return self._core.judge(pending, unexplained)

    def held_symbols(self) -> tuple[str, ...]:
        """Symbols that an operator holds, sorted."""
        assets = self._names.assets
        return tuple(sorted(assets.get(key, f"asset {key}") for key in self._core.symbol_holds()))

    def freeze_causes(self) -> tuple[str, ...]:
        """Why entries are frozen; empty when they are not."""
        frozen = self.ledger().frozen
        return tuple(name for bit, name in FREEZE_CAUSES if frozen & bit)

    # -- the whole state ---------------------------------------------------------------------------

    def save(self) -> bytes:
        """The full state; equal states give equal bytes."""
        config = _config_bytes(self.config)
        return msgspec.msgpack.encode(_Saved(config, self._core.save(), *self._names_in_use()))

    def copy_from(self, other: ExecutionKernel) -> None:
        """Be in the same state as another kernel.  OperatorError for one of another configuration.

        A fraction of what ``save`` takes: nothing is put in order and nothing is packed.
        """
        if self.config != other.config:
            raise OperatorError(
                "kernel not copied", expected=str(self.config), found=str(other.config)
            )
        self._core.copy_from(other._core)
        self._names.copy_from(other._names)

    @classmethod
    def carried(cls, saved: bytes, config: KernelConfig) -> ExecutionKernel:
        """A kernel that goes on from another's saved state under its own settings.

        ``config.earlier`` has to name the other's epoch.  OperatorError when a slot is in use
        there, or when it has more slots than this may.
        """
        try:
            state = msgspec.msgpack.decode(saved, type=_Saved)
            kernel = cls(config)
            kernel._core.carry(state.core)
        except (msgspec.DecodeError, BadField) as bad:
            raise OperatorError(
                "saved state refused",
                expected="the state of a kernel that is flat and has no more slots",
                found=str(bad),
            ) from bad
        kernel._take_names((state.trades, state.intents, state.assets, state.venue_ids))
        return kernel

    @classmethod
    def restore(cls, saved: bytes) -> ExecutionKernel:
        """A kernel in the saved state.  OperatorError when the bytes are not one."""
        try:
            state = msgspec.msgpack.decode(saved, type=_Saved)
            kernel = cls(msgspec.json.decode(state.config, type=KernelConfig))
            kernel._core.restore(state.core)
        except (msgspec.DecodeError, BadField) as bad:
            raise OperatorError(
                "saved state refused", expected="bytes from ExecutionKernel.save", found=str(bad)
            ) from bad
        kernel._take_names((state.trades, state.intents, state.assets, state.venue_ids))
        return kernel

    def state_hash(self) -> str:
        """SHA-256 over the canonical encoding of everything (design P7)."""
        return hashlib.sha256(self.save()).hexdigest()

    def economic_hash(self) -> str:
        """SHA-256 over slots, orders and money levels, without sequence numbers (design P4)."""
        trades = sorted(
            (t[1:16], sorted(_economic(o) for o in self._orders_of(t))) for t in self._core.trades()
        )
        slots = sorted(
            (slot.trade_id, slot.state, slot.active_leg_index) for slot in self.active_slots()
        )
        k = self.ledger()
        money = (k.realized, k.trueup, k.fees, k.funding, k.transfers, k.adjustments, k.foreign)
        return hashlib.sha256(repr((trades, slots, money)).encode()).hexdigest()


def _config_bytes(config: KernelConfig) -> bytes:
    fields = msgspec.structs.asdict(config)
    if not config.earlier:
        del fields["earlier"]
    return msgspec.json.encode(fields)


def _economic(o: tuple[Any, ...]) -> tuple[Any, ...]:
    # Which order, and its end: venue id, role, side, ended, final, external, child, intended, the
    # levels without the ranks of their sources, the limit price.
    return (o[1], o[5], o[6], o[8] >= 4, *o[9:13], *o[13:16], o[17], o[19], o[21], o[22])


def _pnl_source(trade: tuple[Any, ...]) -> str:
    if trade[21]:
        return "operator"
    return "exchange" if trade[8] and not trade[13] else "kernel_estimate"


def _unrealized(trade: tuple[Any, ...], mark_e10: int) -> int:
    size, entered, priced, cost = trade[5] - trade[8] + trade[20], trade[5], trade[6], trade[7]
    if not mark_e10 or size <= 0 or priced < entered:
        return 0
    return int(trade[3] * (mark_e10 * size - cost * size // entered))


def _check_unpacked(i: KernelIntent) -> None:
    # What the packed form leaves out, or takes by its truth, is held to its type; what most intents
    # do not have is looked at only where it is given.
    if (
        type(i.reason) is not str
        or (i.contract is not None and type(i.contract) is not ContractRules)
        or (i.action is not None or i.role is not None or i.limit is not None)
        or (i.amount is not None or i.carried_realized != 0)
        or (i.quarantined_seq != 0 or i.rules_version != 0)
        or (i.urgent is not False and i.urgent is not True)
    ):
        _check_types(i)


def _check_types(record: KernelIntent | VenueEvent) -> None:
    bad = mistyped(record)
    if bad is not None:
        raise bad


def _bad_field(record: KernelIntent | VenueEvent, odd: Exception) -> BadField:
    """The field that could not be packed; raises ``odd`` when there is nothing wrong with any."""
    if isinstance(record, KernelIntent | VenueEvent):
        bad = mistyped(record)
        if bad is not None:
            return bad
    if isinstance(odd, BadField):
        return odd
    raise odd


def _notes(bits: int) -> tuple[KernelDiagnosticCode, ...]:
    return tuple(code for number, (code, _) in _CODES.items() if bits >> number & 1)


_ACCOUNT_KINDS: Final = frozenset(
    {
        KernelEventKind.ACCOUNT_UPDATE,
        KernelEventKind.FUNDING_FEE,
        KernelEventKind.TRANSFER,
        KernelEventKind.FOREIGN_FLOW,
    }
)
_CODES: Final = {int(code): (code, SEVERITY[code]) for code in KernelDiagnosticCode}
_UNSAID: Final = BalanceReason.UNKNOWN
_OTHER: Final = RejectReason.OTHER
_STAGES: Final = tuple(TradeStage)
_SOURCES: Final = tuple(CapitalSource)
# Looked up instead of called: making an enum member from its number is slow.
_EFFECTS: Final = {int(kind): kind for kind in EffectKind}
_SIDES: Final = {int(side): side for side in OrderSide}
_TYPES: Final = {int(kind): kind for kind in OrderType}
_FREE_SLOT: Final = TradeSlot(
    slot_id=-1,
    state=TradeStage.IDLE,
    closed=True,
    trade_no=0,
    trade_id="",
    asset="",
    side=TradeSide.LONG,
    leverage=1,
    size_e8=0,
    entered_e8=0,
    entry_priced_e8=0,
    entry_cost=0,
    exited_e8=0,
    realized=0,
    trueup=0,
    fees=0,
    unrealized=0,
    mark_price_e10=0,
    active_leg_index=0,
    exit_leg_ratios_e9=(10**9,),
    exit_latched=False,
    exit_goal_e8=0,
    dust=False,
    active_entry_order=None,
    active_exit_order=None,
    pnl_source="",
)
