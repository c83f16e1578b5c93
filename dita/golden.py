"""Golden cases: recorded inputs with the exact figures they must give, and the runner for them.

`pink-ctl golden`, `pink-ctl replay` and the tests call this.  A case is a TOML file of steps; each
step gives the engine one input and states what must be true after it.  The format is explained in
``configs/golden/README.md``.  A case is converted as a whole when it is loaded, so a file that
makes no sense is refused before anything is played.  Here are no rules of the kernel: what a figure
must be stands in the file, with its source.

Reading files apart, all of this is pure: the same text gives the same hashes in every process.
"""

from __future__ import annotations

import importlib.resources
import itertools
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from dita.contracts import (
    BalanceReason,
    CapitalSource,
    ContractRules,
    ControlAction,
    DriftCause,
    Effect,
    EffectKind,
    EvidenceSource,
    KernelCommandType,
    KernelDiagnosticCode,
    KernelEventKind,
    KernelIntent,
    OrderRole,
    OrderSide,
    OrderType,
    ReconcileStatus,
    Record,
    RejectReason,
    TradeRecord,
    TradeSide,
    TradeSlot,
    TradeStage,
    VenueEvent,
    VenueOrder,
)
from dita.engine import Engine, Outcome
from dita.errors import BadField, KernelFault, OperatorError, UnitError, UsageError, shown
from dita.identity import client_order_id
from dita.kernel import KernelConfig
from dita.units import (
    exchange_leverage,
    format_money,
    format_price,
    format_quantity,
    parse_money,
    parse_price,
    parse_quantity,
    parse_ratio,
)

__all__ = [
    "CHILD_MARK",
    "START_MS",
    "Case",
    "CaseResult",
    "Difference",
    "Played",
    "Run",
    "Step",
    "case_named",
    "cases",
    "check",
    "load",
    "play",
    "runs",
]

#: When every case begins: 2026-06-11 00:00 UTC, the day of the FET incident.
START_MS: Final = 1_781_136_000_000
#: Between one input and the next, where the case does not say otherwise.
STEP_MS: Final = 100
#: Orders of arrival that one case may have; a block of six inputs has as many.
RUNS_MAX: Final = 720
#: `exit-1/2` is child 2 of the intent exit-1; plain `exit-1` is child 0.
CHILD_MARK: Final = "/"

Input: TypeAlias = KernelIntent | VenueEvent


# -- WHAT A CASE IS -----------------------------------------------------------------------------


class Step(Record, frozen=True, kw_only=True):
    """One step: an input, a restart, or (with neither) just a look at what is expected."""

    number: int
    note: str
    record: Input | None
    order: str
    restart: bool
    any_order: bool
    wait_ms: int
    expect: dict[str, Any]

    @property
    def label(self) -> str:
        """What the step does, in one word."""
        if self.record is None:
            return "restart" if self.restart else "look"
        is_intent = isinstance(self.record, KernelIntent)
        return self.record.command.name if is_intent else self.record.kind.name  # type: ignore[union-attr]


class Variant(Record, frozen=True, kw_only=True):
    """The steps with one set of `$names` filled in; most cases have one, without a name."""

    name: str
    steps: tuple[Step, ...]


class Case(Record, frozen=True, kw_only=True):
    """A loaded case, converted and checked as a whole."""

    name: str
    title: str
    source: str
    about: str
    trade: str
    config: KernelConfig
    variants: tuple[Variant, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps as written, those of the first variant."""
        return self.variants[0].steps


class Run(Record, frozen=True, kw_only=True):
    """One way to play a case: a variant, and an order of arrival where the case allows several."""

    variant: str
    order: str
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """How the run is called in a failure; empty for the only or first one."""
        return ", ".join(part for part in (self.variant, self.order) if part)


class Played(NamedTuple):
    """A step after it was played.  ``outcome`` is None for a restart and for a look.

    ``packed`` is the input as the kernel's batch entrance takes it, empty where it cannot be
    packed.  ``problems`` are what no expectation can name: a restart that changed the state, an
    order that was never submitted.
    """

    step: Step
    outcome: Outcome | None
    engine: Engine
    packed: bytes
    problems: tuple[Difference, ...]


class Difference(NamedTuple):
    """One figure that is not what the case says."""

    run: str
    step: int
    label: str
    figure: str
    expected: str
    found: str

    def __str__(self) -> str:
        """The difference on one line."""
        where = f"step {self.step} ({self.label})" + (f" [{self.run}]" if self.run else "")
        return f"{where}: {self.figure}: expected {self.expected}; found {self.found}"


class CaseResult(Record, frozen=True, kw_only=True):
    """What checking a case gave.  The hashes are those at the end of the first run."""

    name: str
    title: str
    passed: bool
    steps: int
    runs: int
    failures: list[str]
    differences: tuple[Difference, ...]
    state_hash: str
    economic_hash: str


# -- LOADING: WHAT A FILE MAY SAY ---------------------------------------------------------------

Convert: TypeAlias = Callable[[Any], Any]
Fields: TypeAlias = Mapping[str, tuple[str, Convert]]


class _Wrong(Exception):
    """A value that cannot be converted; becomes an OperatorError once the place is known."""

    def __init__(self, expected: str, found: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.found = shown(found)


class _Float(NamedTuple):
    """A number with a decimal point that was written without quotes; always refused."""

    text: str


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _Wrong("a text in quotes", value)
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise _Wrong("a whole number of at least 0, without quotes", value)
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise _Wrong("true or false", value)
    return value


def _table(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise _Wrong("a table", value)
    return value


def _array(value: Any) -> list[Any]:
    if type(value) is not list:
        raise _Wrong("a list", value)
    return value


def _texts(value: Any) -> list[str]:
    return [_text(item) for item in _array(value)]


def _named(enum: type[IntEnum]) -> Convert:
    def convert(value: Any) -> IntEnum:
        if type(value) is not str or value not in enum.__members__:
            raise _Wrong("one of " + ", ".join(enum.__members__), value)
        return enum[value]

    return convert


def _all_named(enum: type[IntEnum]) -> Convert:
    one = _named(enum)
    return lambda value: [one(item) for item in _array(value)]


def _ratios(value: Any) -> tuple[int, ...]:
    return tuple(parse_ratio(item) for item in _array(value))


_CONTRACT: Final[Fields] = {
    "tick": ("tick_e10", parse_price),
    "step": ("step_e8", parse_quantity),
    "min_quantity": ("min_quantity_e8", parse_quantity),
    "min_notional": ("min_notional", parse_money),
    "taker_fee": ("taker_fee_e9", lambda v: parse_ratio(v) if v != "0" else 0),
    "maker_fee": ("maker_fee_e9", lambda v: parse_ratio(v) if v != "0" else 0),
}


def _contract(value: Any) -> ContractRules:
    given = _fields(_table(value), _CONTRACT, "contract")
    if "tick_e10" not in given or "step_e8" not in given:
        raise _Wrong("tick and step at least", value)
    return ContractRules(**given)


_KERNEL: Final[Fields] = {
    "slot_limit": ("slot_limit", _whole),
    "hedge": ("hedge", _flag),
    "leverage_cap": ("leverage_cap", _whole),
    "seen": ("seen", _whole),
    "balance_max_age_ms": ("balance_max_age_ms", _whole),
    "figure_tolerance": ("figure_tolerance", parse_money),
    "seed": ("seed", parse_money),
}

_INTENT: Final[Fields] = {
    "command": ("command", _named(KernelCommandType)),
    "id": ("intent_id", _text),
    "trade": ("trade_id", _text),
    "slot": ("slot_id", _whole),
    "asset": ("asset", _text),
    "side": ("side", _named(TradeSide)),
    "quantity": ("quantity_e8", parse_quantity),
    "price": ("reference_price_e10", parse_price),
    "order_type": ("order_type", _named(OrderType)),
    "limit_price": ("limit_price_e10", parse_price),
    "leverage": ("leverage", _whole),
    "conviction": ("conviction", _text),
    "legs": ("exit_leg_ratios_e9", _ratios),
    "contract": ("contract", _contract),
    "urgent": ("urgent", _flag),
    "lives_ms": ("expires_ms", _whole),
    "working_ms": ("working_ms", _whole),
    "reason": ("reason", _text),
    "entry_cost": ("entry_cost", parse_money),
    "carried_realized": ("carried_realized", parse_money),
    "role": ("role", _named(OrderRole)),
    "venue_id": ("venue_order_id", _text),
    "action": ("action", _named(ControlAction)),
}

_EVENT: Final[Fields] = {
    "kind": ("kind", _named(KernelEventKind)),
    "order": ("order", _text),
    "venue_id": ("venue_order_id", _text),
    "client_id": ("client_order_id", _text),
    "id": ("event_id", _text),
    "asset": ("asset", _text),
    "slot": ("slot_id", _whole),
    "side": ("side", _named(OrderSide)),
    "quantity": ("quantity_e8", parse_quantity),
    "increment": ("increment", _flag),
    "price": ("price_e10", parse_price),
    "last_quantity": ("last_quantity_e8", parse_quantity),
    "last_price": ("last_price_e10", parse_price),
    "cost": ("cost", parse_money),
    "fee": ("fee", parse_money),
    "realized": ("realized", parse_money),
    "source": ("source", _named(EvidenceSource)),
    "reject": ("reject", _named(RejectReason)),
    "retry_after_ms": ("retry_after_ms", _whole),
    "amount": ("amount", parse_money),
    "balance_reason": ("balance_reason", _named(BalanceReason)),
    "available_margin": ("available_margin", parse_money),
    "age_ms": ("age_ms", _whole),
    "asked_ms": ("asked_ms", _whole),
}

_STEP: Final[Fields] = {
    "note": ("note", _text),
    "intent": ("intent", _table),
    "event": ("event", _table),
    "restart": ("restart", _flag),
    "repeat": ("repeat", _flag),
    "any_order": ("any_order", _flag),
    "wait_ms": ("wait_ms", _whole),
    "expect": ("expect", _table),
}

_CASE: Final[Fields] = {
    "title": ("title", _text),
    "source": ("source", _text),
    "about": ("about", _text),
    "trade": ("trade", _text),
    "asset": ("asset", _text),
    "kernel": ("kernel", _table),
    "contract": ("contract", _table),
    "variant": ("variant", _array),
    "step": ("step", _array),
}

_ACCOUNT_KINDS: Final = frozenset(
    {
        KernelEventKind.ACCOUNT_UPDATE,
        KernelEventKind.FUNDING_FEE,
        KernelEventKind.TRANSFER,
        KernelEventKind.TICK,
    }
)


def _fields(table: Mapping[str, Any], known: Fields, where: str) -> dict[str, Any]:
    """Convert a table by name; an unknown key or a value that does not fit is refused."""
    result: dict[str, Any] = {}
    for key, value in table.items():
        place = f"{where}.{key}" if where else key
        if key not in known:
            raise OperatorError(
                f"{place} is no key of a golden case",
                expected="one of " + ", ".join(known),
                found=shown(key),
                action="correct it in the file",
            )
        name, convert = known[key]
        result[name] = _converted(value, convert, place)
    return result


def _converted(value: Any, convert: Convert, place: str) -> Any:
    try:
        return convert(value)
    except UnitError as bad:
        raise _refused(place, bad.expected, bad.found, bad.action) from bad
    except _Wrong as bad:
        raise _refused(place, bad.expected, bad.found, "correct it in the file") from bad


def _refused(place: str, expected: str, found: str, action: str) -> OperatorError:
    return OperatorError(f"{place} refused", expected=expected, found=found, action=action)


# -- LOADING: FROM TEXT TO RECORDS --------------------------------------------------------------


def load(path_or_text: Path | str, name: str = "") -> Case:
    """Load a case from a file, or from its text (a string with more than one line).

    Raises OperatorError that names the file, the step and the key of what it refuses.
    """
    if isinstance(path_or_text, str) and "\n" in path_or_text:
        return _load_text(path_or_text, name or "case")
    path = Path(path_or_text)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as bad:
        raise UsageError(
            f"{path}: cannot be read as a golden case",
            expected="a readable TOML file in UTF-8",
            found=str(bad),
            action="name an existing file; configs/golden/README.md explains the format",
        ) from bad
    return _load_text(text, name or path.stem, str(path))


def _load_text(text: str, name: str, file: str = "") -> Case:
    try:
        return _case(_parsed(text), name)
    except OperatorError as bad:
        raise OperatorError(
            f"{file or name}: {bad.what}", expected=bad.expected, found=bad.found, action=bad.action
        ) from bad


def _parsed(text: str) -> dict[str, Any]:
    try:
        parsed = tomllib.loads(text, parse_float=_Float)
    except (tomllib.TOMLDecodeError, RecursionError) as bad:
        raise _refused("text", "TOML", str(bad), "correct it in the file") from bad
    _no_floats(parsed, "")
    return parsed


def _no_floats(value: Any, place: str) -> None:
    if isinstance(value, _Float):
        raise _refused(
            place,
            "a decimal text in quotes, as in price = " + f'"{value.text}"',
            f"the bare number {value.text}",
            "put it in quotes: a float would round it",
        )
    if isinstance(value, dict):
        for key, item in value.items():
            _no_floats(item, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for number, item in enumerate(value, 1):
            _no_floats(item, f"{place} {number}")


def _case(parsed: dict[str, Any], name: str) -> Case:
    given = _fields(parsed, _CASE, "")
    for key in ("title", "source", "about", "step"):
        if not given.get(key):
            raise _refused(key, f"a golden case with {key}", "none", f"add {key} to the file")
    config = KernelConfig(**_fields(given.get("kernel", {}), _KERNEL, "kernel"))
    sheets = given.get("variant") or [{}]
    variants = tuple(
        _Reader(given, config, sheet, number).variant() for number, sheet in enumerate(sheets, 1)
    )
    case = Case(
        name=name,
        title=given["title"],
        source=given["source"],
        about=given["about"],
        trade=given.get("trade", ""),
        config=config,
        variants=variants,
    )
    many = math.prod(math.factorial(len(block)) for block in _blocks(case.steps) if block)
    if many * len(variants) > RUNS_MAX:
        expected = f"at most {RUNS_MAX} runs, variants times orders of arrival"
        raise _refused(
            "any_order", expected, str(many * len(variants)), "mark fewer steps any_order"
        )
    return case


class _Reader:
    """Turns the raw steps into records for one variant."""

    def __init__(
        self, given: dict[str, Any], config: KernelConfig, sheet: Any, number: int
    ) -> None:
        self.given = given
        self.config = config
        self.place = f"variant {number}"
        self.values = _converted(sheet, _table, self.place)
        self.names: set[str] = set()
        self.time_ms = START_MS
        self.last: tuple[Input, str] | None = None
        contract = given.get("contract")
        self.contract = None
        if contract is not None:
            self.contract = _converted(contract, _contract, "contract")

    def variant(self) -> Variant:
        name = ""
        if self.values:
            name = _converted(self.values.get("name"), _text, f"{self.place}.name")
        raw = [self._filled(step, f"step {n}") for n, step in enumerate(self.given["step"], 1)]
        for n, step in enumerate(raw, 1):
            _converted(step, _table, f"step {n}")
        steps = tuple(self._step(step, number) for number, step in enumerate(raw, 1))
        return Variant(name=name, steps=steps)

    def _filled(self, value: Any, place: str) -> Any:
        """The value with every `$name` replaced by what this variant says."""
        if isinstance(value, dict):
            return {key: self._filled(item, f"{place}.{key}") for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled(item, place) for item in value]
        if isinstance(value, str) and value.startswith("$"):
            if value[1:] not in self.values:
                expected = "a key of every [[variant]]"
                raise _refused(place, expected, shown(value), f"add {value[1:]} to {self.place}")
            return self.values[value[1:]]
        return value

    def _step(self, raw: dict[str, Any], number: int) -> Step:
        where = f"step {number}"
        given = _fields(raw, _STEP, where)
        actions = [key for key in ("intent", "event", "restart", "repeat") if key in given]
        if len(actions) > 1:
            expected = "one of intent, event, restart and repeat"
            raise _refused(where, expected, " and ".join(actions), "make them steps of their own")
        if not actions and "expect" not in given:
            expected = "an input, a restart, or at least something to expect"
            raise _refused(where, expected, "neither", "remove the step or complete it")
        if given.get("any_order") and "expect" in given:
            expected = "no expectation inside an any_order block"
            raise _refused(
                f"{where}.expect", expected, "one", "expect it in a step after the block"
            )
        if any(key in given for key in ("intent", "event", "repeat")):
            self.time_ms += given.get("wait_ms", STEP_MS)
        record, order = self._input(given, where)
        return Step(
            number=number,
            note=given.get("note", ""),
            record=record,
            order=order,
            restart=given.get("restart", False),
            any_order=given.get("any_order", False),
            wait_ms=given.get("wait_ms", STEP_MS),
            expect=_expectations(given.get("expect", {}), f"{where}.expect", record is not None),
        )

    def _input(self, given: dict[str, Any], where: str) -> tuple[Input | None, str]:
        if "intent" in given:
            self.last = (self._intent(given["intent"], f"{where}.intent"), "")
        elif "event" in given:
            self.last = self._event(given["event"], f"{where}.event")
        elif given.get("repeat"):
            if self.last is None:
                raise _refused(
                    f"{where}.repeat", "an input before it", "none", "write the input first"
                )
            record, order = self.last
            return msgspec.structs.replace(record, received_ms=self.time_ms), order
        else:
            return None, ""
        return self.last

    def _intent(self, raw: dict[str, Any], where: str) -> KernelIntent:
        given = _fields(raw, _INTENT, where)
        if "command" not in given:
            raise _refused(f"{where}.command", "a command", "none", "say what is asked for")
        command = given["command"]
        if command is not KernelCommandType.CONTROL:
            given.setdefault("trade_id", self.given.get("trade", ""))
        if command in (KernelCommandType.ENTER, KernelCommandType.RECONCILE):
            given.setdefault("asset", self.given.get("asset", ""))
            given.setdefault("contract", self.contract)
        conviction = given.pop("conviction", None)
        if conviction is not None:
            given["leverage"] = _converted(
                conviction,
                lambda value: exchange_leverage(value, self.config.leverage_cap),
                f"{where}.conviction",
            )
        if "expires_ms" in given:
            given["expires_ms"] += self.time_ms
        if given.get("intent_id"):
            self.names.add(given["intent_id"])
        return KernelIntent(received_ms=self.time_ms, **given)

    def _event(self, raw: dict[str, Any], where: str) -> tuple[VenueEvent, str]:
        given = _fields(raw, _EVENT, where)
        if "kind" not in given:
            raise _refused(f"{where}.kind", "an event kind", "none", "say what is reported")
        if given["kind"] not in _ACCOUNT_KINDS:
            given.setdefault("asset", self.given.get("asset", ""))
        order = given.pop("order", "")
        if order:
            given["client_order_id"] = self._client_id(order, f"{where}.order")
        given["exchange_ms"] = self.time_ms - given.pop("age_ms", 0)
        if "asked_ms" in given:
            given["requested_ms"] = self.time_ms - given.pop("asked_ms")
        return VenueEvent(received_ms=self.time_ms, **given), order

    def _client_id(self, order: str, place: str) -> str:
        intent, _, child = order.partition(CHILD_MARK)
        if intent not in self.names and not intent.startswith("recovery:"):
            expected = "the id of an intent above, or id" + CHILD_MARK + "child"
            found = f"{shown(order)}; known are {', '.join(sorted(self.names)) or 'none'}"
            raise _refused(place, expected, found, "name the intent that asked for the order")
        if child and not (child.isascii() and child.isdecimal()):
            raise _refused(place, "a whole child number", shown(order), "as in exit-1/1")
        return client_order_id(self.config.namespace, self.config.epoch, intent, int(child or 0))


def cases() -> list[Case]:
    """The cases that come with the program, by name."""
    folder = importlib.resources.files("dita.configs") / "golden"
    files = {
        file.name.removesuffix(".toml"): file
        for file in folder.iterdir()
        if file.name.endswith(".toml")
    }
    return [_load_text(files[name].read_text(encoding="utf-8"), name) for name in sorted(files)]


def case_named(name: str) -> Case:
    """The packaged case of that name.  UsageError that lists the names when there is none."""
    known = {case.name: case for case in cases()}
    if name not in known:
        raise UsageError(
            "no such golden case",
            expected="one of " + ", ".join(known),
            found=shown(name),
            action="choose one of them, or give your own file with --file",
        )
    return known[name]


# -- PLAYING ------------------------------------------------------------------------------------


def _blocks(steps: Sequence[Step]) -> list[list[Step]]:
    """The runs of consecutive any_order steps."""
    groups = itertools.groupby(steps, key=lambda step: step.any_order)
    return [list(block) for any_order, block in groups if any_order]


def runs(case: Case) -> Iterator[Run]:
    """Every way to play the case, as written first."""
    for variant in case.variants:
        groups = itertools.groupby(variant.steps, key=lambda step: step.any_order)
        choices: list[list[tuple[Step, ...]]] = []
        for any_order, group in groups:
            block = tuple(group)
            choices.append(list(itertools.permutations(block)) if any_order else [block])
        for picked in itertools.product(*choices):
            steps = tuple(itertools.chain.from_iterable(picked))
            moved = [step.number for step in steps if step.any_order]
            order = "" if moved == sorted(moved) else "order " + " ".join(map(str, moved))
            yield Run(variant=variant.name, order=order, steps=steps)


def play(case: Case, run: Run | None = None) -> Iterator[Played]:
    """Give the steps to a fresh engine, one by one; without a run, as they are written."""
    engine = Engine(case.config)
    time_ms = START_MS
    for step in (run or next(runs(case))).steps:
        problems: list[Difference] = []
        outcome = None
        packed = b""
        if step.restart:
            restarted = Engine.restore(engine.save())
            if restarted.state_hash() != engine.state_hash():
                problems.append(
                    _problem(step, "state hash", engine.state_hash(), restarted.state_hash())
                )
            engine = restarted
        elif step.record is not None:
            time_ms += step.wait_ms
            record = msgspec.structs.replace(step.record, received_ms=time_ms)
            if step.order and not _known(engine, record):
                problems.append(_problem(step, f"order {step.order}", "submitted", "no such order"))
            packed = _packed(engine, record)
            outcome = engine.apply(record)
        yield Played(step, outcome, engine, packed, tuple(problems))


def _problem(step: Step, figure: str, expected: str, found: str) -> Difference:
    return Difference("", step.number, step.label, figure, expected, found)


def _known(engine: Engine, record: Input) -> bool:
    return (
        isinstance(record, VenueEvent)
        and engine.kernel.order_of_client(record.client_order_id) is not None
    )


def _packed(engine: Engine, record: Input) -> bytes:
    try:
        return engine.kernel.pack(record).pack()
    except BadField:
        return b""


def check(case: Case) -> CaseResult:
    """Play every run of the case and compare every figure; a broken invariant is a failure too."""
    differences: list[Difference] = []
    hashes: list[tuple[str, str]] = []
    economic: dict[str, str] = {}
    count = 0
    for run in runs(case):
        count += 1
        found, engine = _check_run(case, run)
        if engine is not None:
            hashes.append((engine.state_hash(), engine.economic_hash()))
            first = economic.setdefault(run.variant, hashes[-1][1])
            if hashes[-1][1] != first:
                end = run.steps[-1]
                found.append(_problem(end, "economic hash", first[:12], hashes[-1][1][:12]))
        differences += [each._replace(run=run.name) for each in found]
    state_hash, economic_hash = hashes[0] if hashes else ("", "")
    return CaseResult(
        name=case.name,
        title=case.title,
        passed=not differences,
        steps=len(case.steps),
        runs=count,
        failures=[str(each) for each in differences],
        differences=tuple(differences),
        state_hash=state_hash,
        economic_hash=economic_hash,
    )


def _check_run(case: Case, run: Run) -> tuple[list[Difference], Engine | None]:
    """The differences of one run and its engine at the end, None when an invariant broke."""
    found: list[Difference] = []
    engine: Engine | None = None
    reached = 0
    try:
        for played in play(case, run):
            reached += 1
            engine = played.engine
            found += played.problems
            found += _compare(case, played)
    except KernelFault as fault:
        what = fault.found.partition(" at input ")[0]  # which input, the step says
        found.append(_problem(run.steps[reached], "the kernel", "no broken invariant", what))
        return found, None
    return found, engine


# -- COMPARING ----------------------------------------------------------------------------------


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

    convert: Convert
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
    return {key: parse_money(amount) for key, amount in _table(value).items()}


def _causes(value: Any) -> dict[str, int]:
    amounts = _money_table(value)
    known = [cause.value for cause in DriftCause]
    for key in amounts:
        if key not in known:
            raise _Wrong("causes out of " + ", ".join(known), key)
    return amounts


def _source(value: Any) -> str:
    known = [source.value for source in CapitalSource]
    if value not in known:
        raise _Wrong("one of " + ", ".join(known), value)
    return str(value)


def _texts_table(value: Any) -> dict[str, Any]:
    return {key: item for key, item in _table(value).items() if _scalar(item)}


def _scalar(value: Any) -> bool:
    if type(value) not in (str, int, bool):
        raise _Wrong("texts, whole numbers, true or false", value)
    return True


def _within(expected: Any, found: Any) -> bool:
    return found is not None and all(item in found for item in expected)


def _part(expected: dict[str, Any], found: Any) -> bool:
    return found is not None and expected.items() <= found.items()


_FIGURES: Final[Mapping[str, _Figure]] = {
    # the outcome of this step's input
    "accepted": _Figure(_flag, lambda v: v.of_outcome("accepted"), needs_input=True),
    "code": _Figure(
        _named(KernelDiagnosticCode),
        lambda v: v.of_outcome("code"),
        lambda code: str(code.name),
        needs_input=True,
    ),
    "notes": _Figure(
        _all_named(KernelDiagnosticCode),
        lambda v: v.of_outcome("notes"),
        _names,
        _within,
        needs_input=True,
    ),
    "details": _Figure(
        _texts_table, lambda v: v.of_outcome("details"), _pairs, _part, needs_input=True
    ),
    "effects": _Figure(
        _all_named(EffectKind), lambda v: [e.kind for e in v.effects], _names, needs_input=True
    ),
    "submits": _Figure(_texts, _View.submits, _listed, needs_input=True),
    "cancels": _Figure(_texts, _View.cancels, _listed, needs_input=True),
    "feedback": _Figure(_money_table, _View.feedback, _moneys, needs_input=True),
    "realized_delta": _money(lambda v: v.delta("realized_delta"))._replace(needs_input=True),
    "trueup_delta": _money(lambda v: v.delta("trueup_delta"))._replace(needs_input=True),
    "fee_delta": _money(lambda v: v.delta("fee_delta"))._replace(needs_input=True),
    # the trade, in its slot
    "state": _Figure(
        _named(TradeStage),
        lambda v: v.of_slot("state", TradeStage.IDLE),
        lambda state: str(state.name),
    ),
    "slot": _Figure(_whole, lambda v: v.of_slot("slot_id")),
    "leg": _Figure(_whole, lambda v: v.of_slot("active_leg_index")),
    "leverage": _Figure(_whole, lambda v: v.of_slot("leverage")),
    "latched": _Figure(_flag, lambda v: v.of_slot("exit_latched", False)),
    "dust": _Figure(_flag, lambda v: v.of_slot("dust", False)),
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
    "pnl_source": _Figure(_text, lambda v: v.of_trade("pnl_source")),
    "record_closed": _Figure(_flag, lambda v: v.of_trade("closed")),
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
        _named(ReconcileStatus), lambda v: v.account.status, lambda status: str(status.name)
    ),
    "frozen": _Figure(_texts, lambda v: list(v.kernel.freeze_causes()), _listed),
    # the kernel as a whole
    "slots_in_use": _Figure(_whole, lambda v: len(v.kernel.active_slots())),
    "trades_opened": _Figure(_whole, lambda v: v.kernel.trade_seq),
    "held": _Figure(_whole, lambda v: v.kernel.held_events),
}


def _as_money(quantity_e8: int | None) -> int | None:
    # A size may be negative (more out than in), which a quantity cannot say and money can.
    return None if quantity_e8 is None else quantity_e8 * 10**10


def _expectations(raw: dict[str, Any], where: str, has_input: bool) -> dict[str, Any]:
    known: dict[str, tuple[str, Convert]] = {"trade": ("trade", _text)}
    known |= {key: (key, figure.convert) for key, figure in _FIGURES.items()}
    given = _fields(raw, known, where)
    for key in given:
        if key != "trade" and _FIGURES[key].needs_input and not has_input:
            expected = "a step with an input, as this figure belongs to its outcome"
            raise _refused(f"{where}.{key}", expected, "a step without", "move it to the input")
    return given


def _compare(case: Case, played: Played) -> list[Difference]:
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
            differences.append(_problem(played.step, key, figure.show(expected), gone))
    return differences
