"""From the text of a golden case to its records, converted as a whole before anything is played.

Commands, replay and tests call `load`, `cases` and `case_named`.  It must not know what an input
does to the kernel: a case that makes no sense is refused, with its file, step and key, and one
whose figures are wrong is not.
"""

from __future__ import annotations

import importlib.resources
import math
import tomllib
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from dita.contracts import KernelCommandType, KernelEventKind, KernelIntent, VenueEvent
from dita.errors import OperatorError, UsageError, shown
from dita.files import read_limited
from dita.golden import keys
from dita.golden.arrivals import RUNS_MAX, blocks
from dita.golden.case import CHILD_MARK, START_MS, STEP_MS, Case, Input, Step, Variant
from dita.golden.figures import expectations
from dita.identity import client_order_id
from dita.kernel import KernelConfig
from dita.units import exchange_leverage

#: Of a case's file; the largest that comes with the program has a hundredth of it.
CASE_BYTES_MAX: Final = 16 * 2**20
_ACCOUNT_KINDS: Final = frozenset(
    {
        KernelEventKind.ACCOUNT_UPDATE,
        KernelEventKind.FUNDING_FEE,
        KernelEventKind.TRANSFER,
        KernelEventKind.FOREIGN_FLOW,
        KernelEventKind.INCOME_READ,
        KernelEventKind.TICK,
    }
)


def load(path_or_text: Path | str, name: str = "") -> Case:
    """Load a case from a file, or from its text (a string with more than one line).

    Raises OperatorError that names the file, the step and the key of what it refuses.
    """
    if isinstance(path_or_text, str) and "\n" in path_or_text:
        return _load_text(path_or_text, name or "case")
    path = Path(path_or_text)
    try:
        text = read_limited(path, CASE_BYTES_MAX).decode()
    except (OSError, ValueError) as bad:
        raise UsageError(
            f"{path}: cannot be read as a golden case",
            expected="a readable TOML file in UTF-8",
            found=str(bad),
            action="name an existing file; configs/golden/README.md explains the format",
        ) from bad
    return _load_text(text, name or path.stem, str(path))


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


def _load_text(text: str, name: str, file: str = "") -> Case:
    try:
        return _case(_parsed(text), name)
    except OperatorError as bad:
        raise OperatorError(
            f"{file or name}: {bad.what}", expected=bad.expected, found=bad.found, action=bad.action
        ) from bad


class _Float(NamedTuple):
    """A number with a decimal point that was written without quotes; always refused."""

    text: str


def _parsed(text: str) -> dict[str, Any]:
    try:
        parsed = tomllib.loads(text, parse_float=_Float)
    except (tomllib.TOMLDecodeError, RecursionError) as bad:
        raise keys.refused("text", "TOML", str(bad), "correct it in the file") from bad
    _no_floats(parsed, "")
    return parsed


def _no_floats(value: Any, place: str) -> None:
    if isinstance(value, _Float):
        raise keys.refused(
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
    given = keys.fields(parsed, keys.CASE, "")
    for key in ("title", "source", "about", "step"):
        if not given.get(key):
            raise keys.refused(key, f"a golden case with {key}", "none", f"add {key} to the file")
    config = KernelConfig(**keys.fields(given.get("kernel", {}), keys.KERNEL, "kernel"))
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
    many = math.prod(math.factorial(len(block)) for block in blocks(case.steps) if block)
    if many * len(variants) > RUNS_MAX:
        expected = f"at most {RUNS_MAX} runs, variants times orders of arrival"
        raise keys.refused(
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
        self.values = keys.converted(sheet, keys.table, self.place)
        self.names: set[str] = set()
        self.time_ms = START_MS
        self.last: tuple[Input, str] | None = None
        contract = given.get("contract")
        self.contract = None
        if contract is not None:
            self.contract = keys.converted(contract, keys.contract, "contract")

    def variant(self) -> Variant:
        name = ""
        if self.values:
            name = keys.converted(self.values.get("name"), keys.text, f"{self.place}.name")
        raw = [self._filled(step, f"step {n}") for n, step in enumerate(self.given["step"], 1)]
        for n, step in enumerate(raw, 1):
            keys.converted(step, keys.table, f"step {n}")
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
                raise keys.refused(
                    place, expected, shown(value), f"add {value[1:]} to {self.place}"
                )
            return self.values[value[1:]]
        return value

    def _step(self, raw: dict[str, Any], number: int) -> Step:
        where = f"step {number}"
        given = keys.fields(raw, keys.STEP, where)
        actions = [key for key in ("intent", "event", "restart", "repeat") if key in given]
        if len(actions) > 1:
            expected = "one of intent, event, restart and repeat"
            raise keys.refused(
                where, expected, " and ".join(actions), "make them steps of their own"
            )
        if not actions and "expect" not in given:
            expected = "an input, a restart, or at least something to expect"
            raise keys.refused(where, expected, "neither", "remove the step or complete it")
        if given.get("any_order") and "expect" in given:
            expected = "no expectation inside an any_order block"
            raise keys.refused(
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
            expect=expectations(given.get("expect", {}), f"{where}.expect", record is not None),
        )

    def _input(self, given: dict[str, Any], where: str) -> tuple[Input | None, str]:
        if "intent" in given:
            self.last = (self._intent(given["intent"], f"{where}.intent"), "")
        elif "event" in given:
            self.last = self._event(given["event"], f"{where}.event")
        elif given.get("repeat"):
            if self.last is None:
                raise keys.refused(
                    f"{where}.repeat", "an input before it", "none", "write the input first"
                )
            record, order = self.last
            return msgspec.structs.replace(record, received_ms=self.time_ms), order
        else:
            return None, ""
        return self.last

    def _intent(self, raw: dict[str, Any], where: str) -> KernelIntent:
        given = keys.fields(raw, keys.INTENT, where)
        if "command" not in given:
            raise keys.refused(f"{where}.command", "a command", "none", "say what is asked for")
        command = given["command"]
        if command is not KernelCommandType.CONTROL:
            given.setdefault("trade_id", self.given.get("trade", ""))
        if command in (KernelCommandType.ENTER, KernelCommandType.RECONCILE):
            given.setdefault("asset", self.given.get("asset", ""))
            given.setdefault("contract", self.contract)
        conviction = given.pop("conviction", None)
        if conviction is not None:
            given["leverage"] = keys.converted(
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
        given = keys.fields(raw, keys.EVENT, where)
        if "kind" not in given:
            raise keys.refused(f"{where}.kind", "an event kind", "none", "say what is reported")
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
            raise keys.refused(place, expected, found, "name the intent that asked for the order")
        if child and not (child.isascii() and child.isdecimal()):
            raise keys.refused(place, "a whole child number", shown(order), "as in exit-1/1")
        return client_order_id(self.config.namespace, self.config.epoch, intent, int(child or 0))
