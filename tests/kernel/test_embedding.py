"""What an embedder meets: frozen outcomes, one door for one caller, odd types, settings, pages."""

from __future__ import annotations

import contextlib
import copy
import itertools
import pickle
import re
import runpy
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.engine_driver import RULES, SHORT, Desk, Kind, m, p, q
from support.long_days import long_day

from dita.account import AccountConfig, AccountProjection
from dita.contracts import (
    ContractRules,
    ControlAction,
    EffectKind,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelEventKind,
    KernelIntent,
    OrderSide,
    OrderType,
    VenueEvent,
)
from dita.engine import Engine
from dita.errors import OperatorError
from dita.fields import mistyped
from dita.frozen import FrozenDict
from dita.kernel import ExecutionKernel, KernelConfig
from dita.settings import load

ROOT = Path(__file__).parent.parent.parent
Code = KernelDiagnosticCode
Record: TypeAlias = KernelIntent | VenueEvent


# -- frozen ----------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[Any], object]] = {
    "set": lambda d: d.__setitem__("mine", 1),
    "del": lambda d: d.__delitem__(next(iter(d), "")),
    "or": lambda d: d.__ior__({"mine": 1}),
    "clear": lambda d: d.clear(),
    "pop": lambda d: d.pop("mine", None),
    "popitem": lambda d: d.popitem(),
    "setdefault": lambda d: d.setdefault("mine", 1),
    "update": lambda d: d.update(mine=1),
}


def drifted() -> Desk:
    desk = Desk()
    desk.quiet_anchor("25000")
    desk.anchor("24990")
    assert desk.engine.snapshot.drift_by_cause
    return desk


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_who_writes_into_a_snapshot_or_an_outcome_changes_nothing(
    write: Callable[[Any], object],
) -> None:
    desk = drifted()
    before, causes = desk.engine.state_hash(), dict(desk.last.account.drift_by_cause)
    accepted = desk.enter()
    refused = desk.enter()
    for mapping in (
        desk.engine.snapshot.drift_by_cause,
        accepted.kernel.details,
        refused.kernel.details,
    ):
        with pytest.raises(TypeError, match="read only"):
            write(mapping)
    assert desk.engine.snapshot.drift_by_cause == causes
    assert Desk().enter().kernel.details == {}
    assert drifted().engine.state_hash() == before


def test_a_snapshot_keeps_what_it_said_when_the_account_goes_on() -> None:
    desk = drifted()
    first = desk.engine.snapshot
    said = dict(first.drift_by_cause)
    desk.control(ControlAction.REBASE, amount=first.drift)
    desk.anchor("25100")
    assert first.drift_by_cause == said != desk.engine.snapshot.drift_by_cause


def test_outcomes_are_encoded_copied_and_pickled_as_plain_records() -> None:
    desk = drifted()
    for outcome in (desk.last, desk.enter(), desk.enter()):
        for twin in (copy.deepcopy(outcome), pickle.loads(pickle.dumps(outcome))):
            assert twin == outcome
            assert type(twin.account.drift_by_cause) is FrozenDict
        decoded = msgspec.json.decode(msgspec.json.encode(outcome))
        assert decoded["account"]["drift_by_cause"] == {"pending": -m(10)}
        assert decoded["kernel"]["details"] == dict(outcome.kernel.details)


# -- one list of effects ---------------------------------------------------------------------------


def test_the_cancels_of_a_freeze_are_in_both_lists_of_effects() -> None:
    desk = Desk()
    desk.quiet_anchor("25000")
    desk.enter(10, "10", order_type=OrderType.LIMIT, limit_price_e10=p("10"))
    desk.ack()
    desk.quiet_anchor("24900")
    seen: list[EffectKind] = []
    for _ in range(3):
        desk.now += 600_000
        outcome = desk.quiet_anchor("24900")
        assert outcome.kernel.effects == outcome.effects
        seen += [effect.kind for effect in outcome.kernel.effects]
    assert seen == [EffectKind.CANCEL]


def test_an_order_to_send_carries_its_terms() -> None:
    desk = Desk()
    rules = ContractRules(tick_e10=p("0.01"), step_e8=q("0.5"))
    desk.enter(10, "10", leverage=3, contract=rules)
    (entry,) = desk.last.effects
    desk.fill("T1", 10, "10")
    desk.exit()
    (exit_,) = (e for e in desk.last.effects if e.kind is EffectKind.SUBMIT)
    for effect in (entry, exit_):
        assert (effect.leverage, effect.tick_e10, effect.step_e8) == (3, p("0.01"), q("0.5"))


# -- one door, one caller --------------------------------------------------------------------------


def past_the_engine(engine: Engine) -> Iterator[Callable[[], object]]:
    kernel, tick = engine.kernel, VenueEvent(kind=Kind.TICK, received_ms=10**12)
    packed = kernel.pack(tick).pack()
    yield lambda: kernel.apply(tick)
    yield lambda: kernel.apply_batch(packed, bytearray(kernel.record_sizes()[1]))
    yield lambda: kernel.judge(True, True)


@pytest.mark.parametrize("restored", [False, True])
def test_nobody_drives_the_kernel_past_its_engine(restored: bool) -> None:
    engine = long_day().engine
    if restored:
        engine = Engine.restore(engine.save())
    before = engine.save()
    for call in past_the_engine(engine):
        with pytest.raises(OperatorError, match="belongs to an engine") as refused:
            call()
        assert "Engine.apply" in refused.value.expected
    assert engine.save() == before
    alone = ExecutionKernel(engine.kernel.config)
    assert alone.apply(VenueEvent(kind=Kind.TICK, received_ms=1)).accepted


def test_a_second_thread_in_the_middle_of_an_input_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    desk.anchor("25000")
    engine, judge, errors = desk.engine, AccountProjection.judge, []

    def intrude() -> None:
        tick = VenueEvent(kind=Kind.TICK, received_ms=desk.now)
        packed = engine.kernel.pack(tick).pack()
        for call in (
            lambda: engine.apply(tick),
            lambda: engine.apply_batch(packed),
            engine.save,
            engine.state_hash,
            engine.economic_hash,
        ):
            with pytest.raises(OperatorError, match="second caller") as refused:
                call()
            errors.append(refused.value)

    def judged(self: AccountProjection, *arguments: Any) -> Any:
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()
        return judge(self, *arguments)

    monkeypatch.setattr(AccountProjection, "judge", judged)
    before = engine.kernel.event_seq
    desk.anchor("25000")
    assert len(errors) == 5
    assert engine.kernel.event_seq == before + 1
    monkeypatch.undo()
    assert desk.tick().kernel.accepted


def test_an_input_that_faults_leaves_the_door_open(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(AccountProjection, "judge", fails)
    with pytest.raises(ZeroDivisionError):
        desk.anchor("25000")
    monkeypatch.undo()
    assert desk.tick().kernel.accepted


def funding(kernel: ExecutionKernel, name: str, count: int) -> bytes:
    rows = (
        VenueEvent(kind=Kind.FUNDING_FEE, received_ms=1, event_id=f"{name}{i}", amount=1)
        for i in range(count)
    )
    return b"".join(kernel.pack(row).pack() for row in rows)


def test_no_flow_is_lost_beside_a_batch_of_another_thread() -> None:
    """Whoever came second has an error, and whoever has none is in the state."""
    kernel = ExecutionKernel(KernelConfig(seen=65_536))
    size, out_size = kernel.record_sizes()
    packed = funding(kernel, "batch", 20_000)
    outcomes = bytearray(len(packed) // size * out_size)
    taken = refused = 0
    done = threading.Event()

    def batches() -> None:
        # The same rows again and again: duplicates change nothing, and the GIL stays away long.
        while not done.wait(0.001):
            with contextlib.suppress(OperatorError):  # a save of the other thread is under way
                kernel.apply_batch(packed, outcomes)

    thread = threading.Thread(target=batches)
    thread.start()
    views = {
        name: getattr(kernel, name)
        for name in (
            "active_slots", "effects", "exposure", "freeze_causes", "held_symbols", "ledger",
            "limits", "open_orders", "save", "trades", "unwanted_orders", "venue_errors",
        )
    }  # fmt: skip
    views["due_ms"] = lambda: kernel.due_ms
    views["is_own_order"] = lambda: kernel.is_own_order("7")
    views["judge"] = lambda: kernel.judge(False, False)
    unseen, limit_s = set(views), time.monotonic() + 60
    try:
        for turn in itertools.count():
            if (refused >= 20 and taken >= 20 and not unseen) or time.monotonic() > limit_s:
                break
            row = VenueEvent(
                kind=Kind.FUNDING_FEE, received_ms=1, event_id=f"own{min(taken, 20)}", amount=10**6
            )
            try:
                taken += kernel.apply(row).accepted
            except OperatorError as error:
                assert "second thread" in error.what
                refused += 1
            name = list(views)[turn % len(views)]
            try:
                views[name]()
            except OperatorError as error:
                assert "second thread" in error.what
                unseen.discard(name)
    finally:
        done.set()
        thread.join()
    kernel.apply_batch(packed, outcomes)  # perhaps the first one was refused
    assert refused >= 20 and not unseen, (refused, taken, unseen)
    assert kernel.ledger().funding == 20_000 + taken * 10**6
    assert kernel.event_seq == 20_000 + taken


# -- odd types -------------------------------------------------------------------------------------


class Hostile:
    """Raises whatever is asked of it."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError

    def __repr__(self) -> str:
        raise RuntimeError


ODD: dict[str, object] = {
    "None": None, "list": [], "full list": ["x"], "dict": {}, "full dict": {"tick_e10": 1},
    "tuple": (), "texts": ("x",), "float": 1.5, "nan": float("nan"), "Decimal": Decimal(1),
    "bytes": b"x", "text": "x", "empty text": "", "bool": True, "int": 7, "set": {1},
    "object": object(), "type": KernelEventKind, "function": print, "hostile": Hostile(),
}  # fmt: skip


OF_THE_ACCOUNT = (Kind.ACCOUNT_UPDATE, Kind.FUNDING_FEE, Kind.TRANSFER, Kind.FOREIGN_FLOW)


def before_odd_inputs() -> tuple[Desk, list[Record]]:
    """A desk with an open trade and a working entry, and an input of every kind that fits it."""
    desk = Desk()
    desk.anchor("25000")
    desk.open(side=SHORT, legs=("0.5", "1"))
    desk.enter(trade="T2", asset="TRX-USDT")
    now, command = desk.now + 1, KernelCommandType
    common: dict[str, Any] = {"received_ms": now, "intent_id": "odd", "trade_id": "T1"}
    inputs: list[Record] = [
        KernelIntent(command=each, quantity_e8=q(10), reference_price_e10=p(10), **common)
        for each in command
        if each not in (command.ENTER, command.CONTROL)
    ]
    inputs.append(
        KernelIntent(
            command=command.ENTER, quantity_e8=q(10), reference_price_e10=p(10), contract=RULES,
            asset="XRP-USDT", **{**common, "trade_id": "T3"},
        )
    )  # fmt: skip
    inputs += [
        KernelIntent(command=command.CONTROL, action=action, amount=5, **common)
        for action in ControlAction
    ]
    inputs += [
        VenueEvent(
            kind=kind, received_ms=now, exchange_ms=now, event_id="odd", asset="TRX-USDT",
            client_order_id=desk.venue_ids["T2"], venue_order_id="777", side=OrderSide.BUY,
            quantity_e8=q(10), price_e10=p(10), amount=m(5) if kind in OF_THE_ACCOUNT else None,
        )
        for kind in KernelEventKind
    ]  # fmt: skip
    return desk, inputs


#: Those that a failing example can be printed with.
SHOWN = [odd for odd in ODD.values() if not isinstance(odd, Hostile)]
DESK, INPUTS = before_odd_inputs()
SAVED = DESK.engine.save()


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_value_of_another_type_is_refused_by_its_fields_name(odd: object) -> None:
    engine = Engine.restore(SAVED)
    tried = 0
    for record in INPUTS:
        for field in record.__struct_fields__:
            changed = replace(record, **{field: odd})
            bad = mistyped(changed)
            if bad is None:
                continue  # it is of the field's type
            tried += 1
            done = engine.apply(changed).kernel
            code = Code.INVALID_INTENT if isinstance(record, KernelIntent) else Code.INVALID_EVENT
            assert (done.accepted, done.code) == (False, code), (field, record)
            assert done.details["field"] == field == bad.field
            assert done.details["expected"] == bad.expected
    assert tried > len(INPUTS)
    assert engine.save() == SAVED


@given(
    st.sampled_from(INPUTS),
    st.dictionaries(
        st.sampled_from(sorted({f for r in INPUTS for f in r.__struct_fields__})),
        st.one_of(st.sampled_from(SHOWN), st.integers(), st.text()),
        min_size=1,
    ),
)
def test_every_input_has_an_answer(record: Record, changes: dict[str, object]) -> None:
    """And a refused one has changed nothing."""
    fields = {f: v for f, v in changes.items() if f in record.__struct_fields__}
    engine = Engine.restore(SAVED)
    changed = replace(record, **fields)
    is_odd = mistyped(changed) is not None
    done = engine.apply(changed).kernel
    assert not (is_odd and done.accepted)
    if not done.accepted:
        assert engine.save() == SAVED


@pytest.mark.parametrize(
    ("field", "value"), [("tick_e10", "1"), ("step_e8", None), ("min_notional", 1.5)]
)
def test_an_odd_contract_is_refused_by_its_fields_name(field: str, value: object) -> None:
    enter = next(
        r for r in INPUTS if isinstance(r, KernelIntent) and r.command is KernelCommandType.ENTER
    )
    odd = replace(enter, contract=replace(RULES, **{field: value}))
    assert Engine.restore(SAVED).apply(odd).kernel.details["field"] == f"contract.{field}"


def test_a_missing_contract_is_called_a_missing_contract() -> None:
    desk = Desk()
    desk.enter(contract=None)
    details = desk.last.kernel.details
    assert (details["field"], details["value"]) == ("contract", "None")
    assert "ContractRules" in str(details["expected"])
    desk.open()
    desk.exit(quantity_e8=q("0.5"))
    assert desk.last.kernel.details["field"] == "contract.step_e8"


@pytest.mark.parametrize("odd", [None, {}, 5, "x", b"x", KernelIntent, RULES], ids=repr)
def test_what_is_no_input_at_all_is_an_error_of_the_caller(odd: Any) -> None:
    engine = Engine.restore(SAVED)
    with pytest.raises(OperatorError, match="input refused"):
        engine.apply(odd)
    assert engine.save() == SAVED


def test_plain_numbers_of_enums_do_the_same_alone_and_in_a_batch() -> None:
    """A re-base and an anchor by their numbers reach the account, as they do from a journal."""
    desk = drifted()
    records: list[Record] = [
        VenueEvent(kind=int(Kind.ACCOUNT_UPDATE), received_ms=desk.now + 1, amount=m("24980")),  # type: ignore[arg-type]
        KernelIntent(
            command=int(KernelCommandType.CONTROL),  # type: ignore[arg-type]
            received_ms=desk.now + 2,
            intent_id="rebase",
            action=int(ControlAction.REBASE),  # type: ignore[arg-type]
            amount=-m(20),
        ),
    ]
    one, many = desk.engine, Engine.restore(desk.engine.save())
    many.apply_batch(b"".join(many.kernel.pack(record).pack() for record in records))
    drifts = [(one.apply(record), one.snapshot.drift)[1] for record in records]
    assert drifts == [-m(20), 0]
    assert many.snapshot == one.snapshot
    assert many.account.save() == one.account.save()


# -- settings to trade with ------------------------------------------------------------------------


def entered(config: KernelConfig) -> Code:
    desk = Desk()
    desk.engine = Engine(config)
    return desk.enter().kernel.code


def test_settings_to_trade_with_take_no_entry_without_a_balance() -> None:
    assert entered(KernelConfig.for_trading(namespace="a", epoch=1)) is Code.BALANCE_STALE
    for text in ("pink-vst.toml", "pink-local.toml", "demo.toml"):
        served = load(ROOT / "configs" / text, {}, {}).kernel_config(epoch=1)
        assert entered(served) is Code.BALANCE_STALE, text


@pytest.mark.parametrize(
    "unsafe", [{"namespace": ""}, {"epoch": 0}, {"balance_max_age_ms": 0}], ids=repr
)
def test_settings_that_trade_blindly_are_refused(unsafe: dict[str, Any]) -> None:
    with pytest.raises(OperatorError, match=f"{next(iter(unsafe))} refused for trading"):
        KernelConfig.for_trading(**{"namespace": "a", "epoch": 1, **unsafe})


def test_the_account_at_bingx_knows_how_coarse_its_figures_are() -> None:
    assert AccountConfig.for_bingx().wallet_digit == m("0.0002")
    assert AccountConfig.for_bingx(error=m(5)).error == m(5)
    served = load(ROOT / "configs" / "pink-vst.toml", {}, {}).account_config()
    assert served.wallet_digit == AccountConfig.for_bingx().wallet_digit


# -- pages and examples ----------------------------------------------------------------------------


def test_the_example_trades_and_accounts_for_every_cent() -> None:
    example = runpy.run_path(str(ROOT / "configs" / "examples" / "embedded_engine.py"))
    program = example["Program"](example["Exchange"](wallet="25000", price="0.1900"), 10**12)
    example["trade_once"](program)
    assert program.said == [
        "SELL 1000 FET-USDT at 0.1900",
        "unrealized 5",
        "BUY 1000 FET-USDT at 0.1850",
        "for the sizer: 4.8125",
        "the record of T1 is complete",
        "T1: realized 5, fees 0.1875, exchange",
        "capital 25004.8125 (e_anchored), drift 0 {}",
    ]
    replayed = Engine(program.engine.kernel.config, program.engine.account.config)
    for record in program.journal:
        replayed.apply(record)
    assert replayed.save() == program.engine.save()


def test_the_page_in_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})
    *_, said = re.findall(r"# (\S+)$", block.rstrip(), re.MULTILINE)
    assert capsys.readouterr().out.strip() == said


def test_the_page_for_embedders_has_every_effect_and_names_what_there_is() -> None:
    page = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    rows = {name for line in page.splitlines() for name in re.findall(r"^\| ([A-Z_, ]+) \|", line)}
    assert {n for row in rows for n in row.split(", ")} == set(EffectKind.__members__)
    for module in ("intents", "events"):
        made = vars(sys.modules[f"dita.{module}"])
        for name in re.findall(rf"`{module}\.(\w+)`", page):
            assert callable(made[name]), name
    for name in re.findall(r"`kernel\.(\w+)", page):
        assert hasattr(ExecutionKernel, name), name
    for link in re.findall(r"\]\(\.\./([^)#]+)\)", page):
        assert (ROOT / link).exists(), link
    for text in ("README.md", "ARCHITECTURE.md"):
        assert "docs/embedding.md" in (ROOT / text).read_text(encoding="utf-8")
