"""The story of a recorded trade: each step through the engine, beside what others made of it.

`pink-ctl replay` calls this and shows the result.  A recorded trade is NAME.toml (what is known of
it, and from where) with NAME.VARIANT.toml (its steps, in the format of the golden cases).  They go
through ``Engine.apply`` and through nothing else; reading the files apart, all of this is pure.
It decides nothing about how anything looks.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import msgspec

from dita.contracts import (
    KernelCommandType,
    KernelIntent,
    Record,
    TradeSide,
    TradeStage,
    VenueEvent,
)
from dita.engine import Engine
from dita.errors import UsageError, shown
from dita.files import read_limited
from dita.golden import CASE_BYTES_MAX, CHILD_MARK, Case, Played, Run, Step, check, load, play, runs
from dita.incident import defects
from dita.incident.defects import Defect, Fall
from dita.incident.facts import Incident
from dita.incident.facts import read as incident_of
from dita.units import format_quantity

__all__ = [
    "Check",
    "Figure",
    "Line",
    "Recording",
    "Row",
    "Story",
    "opened",
    "recorded",
    "tell",
]

_SUFFIX: Final = ".toml"
_OPENING: Final = (KernelCommandType.ENTER, KernelCommandType.RECONCILE)


# -- WHAT IS RECORDED ---------------------------------------------------------------------------


class Recording(Record, frozen=True, kw_only=True):
    """One variant of a recorded trade, ready to play."""

    name: str
    variant: str
    variants: tuple[str, ...]
    case: Case
    run: Run
    incident: Incident | None


# -- FINDING A RECORDING ------------------------------------------------------------------------


def recorded(trade: str, variant: str = "") -> Recording:
    """The packaged recording of that name or symbol.  UsageError that lists what there is."""
    files = {
        file.name.removesuffix(_SUFFIX): file
        for file in (importlib.resources.files("dita.configs") / "trades").iterdir()
        if file.name.endswith(_SUFFIX)
    }
    known = {name: incident_of(_text(f), f.name) for name, f in files.items() if "." not in name}
    wanted = _plain(trade)
    for name, incident in sorted(known.items()):
        if wanted in (_plain(name), _plain(incident.asset)):
            return _variant(name, files, incident, variant)
    have = ", ".join(f"{name.upper()} ({one.asset})" for name, one in sorted(known.items()))
    raise UsageError(
        "no such recorded trade",
        expected=f"one of {have}",
        found=shown(trade),
        action="choose one of them, or give your own recording with --file",
    )


def _plain(symbol: str) -> str:
    return symbol.replace("-", "").lower()


def _text(file: Traversable) -> str:
    return file.read_text(encoding="utf-8")


def _variant(
    name: str, files: dict[str, Traversable], incident: Incident, variant: str
) -> Recording:
    mine = sorted(each.partition(".")[2] for each in files if each.startswith(f"{name}."))
    picked = _picked(variant or incident.default, mine)
    case = load(_text(files[f"{name}.{picked}"]), f"{name}.{picked}")
    return Recording(
        name=name,
        variant=picked,
        variants=tuple(mine),
        case=case,
        run=next(runs(case)),
        incident=incident,
    )


def _picked(variant: str, known: Iterable[str]) -> str:
    names = list(known)
    if variant not in names:
        raise UsageError(
            "no such variant of this recording",
            expected="one of " + (", ".join(filter(None, names)) or "none: leave --variant out"),
            found=shown(variant),
            action="choose one of them with --variant",
        )
    return variant


def opened(path: Path, variant: str = "") -> Recording:
    """An own recording: a file of steps, and NAME.toml beside a NAME.VARIANT.toml if it is there.

    A recording must not be larger than a golden case; the file may hold its own variants.
    """
    case = load(path)
    names = [each.name for each in case.variants]
    picked = _picked(variant or names[0], names)
    run = next(run for run in runs(case) if run.variant == picked)
    about = path.with_name(path.name.partition(".")[0] + _SUFFIX)
    incident = None
    if about != path and about.is_file():
        incident = incident_of(read_limited(about, CASE_BYTES_MAX).decode(), str(about))
    return Recording(
        name=path.name.removesuffix(_SUFFIX),
        variant=picked,
        variants=tuple(names),
        case=case,
        run=run,
        incident=incident,
    )


# -- THE STORY ----------------------------------------------------------------------------------


class Row(Record, frozen=True, kw_only=True):
    """One step: what came, and what the kernel then says of the trade and of the account."""

    number: int
    at_ms: int  # since the first step
    event: str
    kind: str
    before: TradeStage
    after: TradeStage
    size_e8: int
    basis_e10: int
    booked: int
    realized: int
    fees: int
    capital: int
    capital_source: str
    pnl_source: str
    refused: bool
    notes: tuple[str, ...]


class Figure(Record, frozen=True, kw_only=True):
    """An amount and where it is from (recorded, computed, ...), or why there is none."""

    amount: int | None
    kind: str


_NOT_RECORDED: Final = Figure(amount=None, kind="not recorded")


class Line(Record, frozen=True, kw_only=True):
    """One line of the comparison; None where a party can have no such figure."""

    label: str
    defective: Figure | None = None
    kernel: Figure | None = None
    exchange: Figure | None = None


class Check(Record, frozen=True, kw_only=True):
    """An old defect tried on this kernel, just now, with the recording's own inputs."""

    defect: Defect
    tried: str
    passed: bool


class Story(Record, frozen=True, kw_only=True):
    """Everything there is to show of one recording."""

    recording: Recording
    asset: str
    side: TradeSide
    rows: tuple[Row, ...]
    wallet: int
    drift: int
    drift_by_cause: dict[str, int]
    state_hash: str
    failures: tuple[str, ...]
    lines: tuple[Line, ...]
    true_total: int
    falls: tuple[Fall, ...]
    path: tuple[int, ...]  # what the defective system has booked after each row
    checks: tuple[Check, ...]

    @property
    def last(self) -> Row:
        """The end of the trade."""
        return self.rows[-1]

    @property
    def net(self) -> int:
        """Realized less the fees that are known or estimated."""
        return self.last.realized - self.last.fees

    @property
    def settled(self) -> int:
        """What was booked without a fill, because the exchange told its figure."""
        return _settled(self.rows)

    @property
    def unexplained(self) -> int | None:
        """What was booked, as recorded, and no emulation accounts for."""
        incident = self.recording.incident
        if incident is None or incident.total is None or not self.falls:
            return None
        return incident.total - self.falls[-1].total


def tell(recording: Recording) -> Story:
    """Play the recording and gather everything that there is to say about it."""
    trade, entry = _subject(recording)
    rows, engine = _rows(recording.case, recording.run, trade)
    account = engine.snapshot
    incident = recording.incident
    falls: tuple[Fall, ...] = ()
    true_total = rows[-1].realized
    if incident is not None:
        falls = defects.waterfall(incident.side, incident.leverage, incident.fills)
        true_total = falls[0].total - falls[0].change
    return Story(
        recording=recording,
        asset=entry.asset,
        side=entry.side,
        rows=rows,
        wallet=account.e_wallet_balance,
        drift=account.drift,
        drift_by_cause={cause.value: part for cause, part in account.drift_by_cause.items()},
        state_hash=engine.state_hash(),
        failures=tuple(check(recording.case).failures),
        lines=_lines(incident, rows, account.e_wallet_balance, account.drift) if incident else (),
        true_total=true_total,
        falls=falls,
        path=_path(incident, rows) if incident else (),
        checks=tuple(_checks(recording, trade)) if incident else (),
    )


def _subject(recording: Recording) -> tuple[str, KernelIntent]:
    for step in recording.run.steps:
        intent = step.record
        if not isinstance(intent, KernelIntent) or intent.command not in _OPENING:
            continue
        if intent.trade_id and recording.case.trade in ("", intent.trade_id):
            return intent.trade_id, intent
    raise UsageError(
        f"{recording.name}: no trade to tell of",
        expected="a step that enters or adopts a trade",
        found="none" + (f" of {recording.case.trade}" if recording.case.trade else ""),
        action="add it to the recording",
    )


def _rows(case: Case, run: Run, trade: str) -> tuple[tuple[Row, ...], Engine]:
    rows: list[Row] = []
    at_ms = 0
    played = None
    for played in play(case, run):
        at_ms += played.step.wait_ms if rows and played.step.record is not None else 0
        rows.append(_row(played, trade, at_ms, rows[-1] if rows else None))
    if played is None:
        raise UsageError(f"{case.name}: no steps", action="add steps to the recording")
    return tuple(rows), played.engine


def _row(played: Played, trade: str, at_ms: int, last: Row | None) -> Row:
    step, account, kernel = played.step, played.engine.snapshot, played.engine.kernel
    record = kernel.trade(trade)
    slots = [slot for slot in kernel.active_slots() if slot.trade_id == trade]
    answer = played.outcome.kernel if played.outcome else None
    moved = answer.transition if answer else None
    size_e8 = record.entered_e8 - record.exited_e8 if record else 0
    return Row(
        number=step.number,
        at_ms=at_ms,
        event=_event(step, size_e8 - (last.size_e8 if last else 0)),
        kind=step.label,
        before=last.after if last else TradeStage.IDLE,
        after=slots[-1].state if slots else TradeStage.IDLE,
        size_e8=size_e8,
        basis_e10=slots[-1].entry_price_e10 if slots else last.basis_e10 if last else 0,
        booked=moved.realized_delta
        if moved and record and moved.trade_no == record.trade_no
        else 0,
        realized=record.realized if record else 0,
        fees=record.fees if record else 0,
        capital=account.capital,
        capital_source=account.capital_source.value,
        pnl_source=record.pnl_source if record else "",
        refused=answer is not None and not answer.accepted,
        notes=_notes(played),
    )


def _event(step: Step, change_e8: int) -> str:
    """The step's own short name, or what came with the quantity that it moved."""
    if step.note and not step.note.endswith("."):  # a sentence is no name
        return step.note
    name = step.label.lower().replace("_", " ")
    return f"{name} {_whole(abs(change_e8))}" if change_e8 else name


def _whole(quantity_e8: int) -> str:
    whole, _, part = format_quantity(quantity_e8).partition(".")
    return f"{int(whole):,}" + (f".{part}" if part else "")


def _notes(played: Played) -> tuple[str, ...]:
    found = [str(problem) for problem in played.problems]
    if played.outcome is not None:
        answer = played.outcome.kernel
        codes = dict.fromkeys((answer.code, *answer.notes))
        found += [code.name for code in codes if code]
    return tuple(found)


# -- THE COMPARISON -----------------------------------------------------------------------------


def _exits(rows: tuple[Row, ...]) -> list[int]:
    """The positions of the rows in which the position got smaller."""
    return [n for n in range(1, len(rows)) if rows[n].size_e8 < rows[n - 1].size_e8]


def _settled(rows: tuple[Row, ...]) -> int:
    exits = _exits(rows)
    return sum(row.booked for n, row in enumerate(rows) if n not in exits)


def _path(incident: Incident, rows: tuple[Row, ...]) -> tuple[int, ...]:
    """What the defective system has booked after each row; it re-settles at the restart."""
    bookings = defects.book(incident.side, incident.leverage, incident.fills, defects.ALL)
    exits = _exits(rows)
    restarts = [n for n, row in enumerate(rows) if row.kind == "restart"]
    at: dict[int, int] = {}
    for booking in bookings:
        places = restarts if booking.fill is None else exits
        if places:
            place = places.pop(0)
            at[place] = at.get(place, 0) + booking.amount
    booked, path = 0, []
    for n in range(len(rows)):
        booked += at.get(n, 0)
        path.append(booked)
    return tuple(path)


def _lines(incident: Incident, rows: tuple[Row, ...], wallet: int, drift: int) -> tuple[Line, ...]:
    bookings = defects.book(incident.side, incident.leverage, incident.fills, defects.ALL)
    lines = list(_legs(incident, rows))
    emulated, end = defects.total(bookings), rows[-1]
    computed = f"computed, {incident.settlement}" if _settled(rows) else "computed"
    lines.append(
        Line(
            label="total, gross",
            defective=_figure(emulated, "emulated"),
            kernel=_figure(end.realized, computed),
            exchange=_NOT_RECORDED,
        )
    )
    lines.append(
        Line(
            label="fees",
            defective=Figure(amount=None, kind="not booked"),
            kernel=_figure(-end.fees, "computed"),
            exchange=_NOT_RECORDED,
        )
    )
    if incident.total is not None:
        lines.append(
            Line(label="never explained", defective=_figure(incident.total - emulated, "unknown"))
        )
    lines.append(
        Line(
            label="booked in all",
            defective=_figure(incident.total, "recorded"),
            kernel=_figure(end.realized - end.fees, computed),
            exchange=_figure(incident.exchange_net, "recorded, about"),
        )
    )
    lines.append(
        Line(
            label="capital off the wallet",
            defective=_figure(incident.capital_difference, "recorded"),
            kernel=_figure(end.capital - wallet, "computed"),
        )
    )
    lines.append(Line(label="checksum off the wallet", kernel=_figure(-drift, "computed")))
    return tuple(lines)


def _figure(amount: int | None, kind: str) -> Figure:
    return _NOT_RECORDED if amount is None else Figure(amount=amount, kind=kind)


def _legs(incident: Incident, rows: tuple[Row, ...]) -> Iterator[Line]:
    bookings = defects.book(incident.side, incident.leverage, incident.fills, defects.ALL)
    exits = _exits(rows)
    settled = _settled(rows)
    first = True
    for booking in bookings:
        kernel, kind = 0, "emulated"
        label = "settled again at restart"
        if booking.fill is not None:
            row = rows[exits.pop(0)] if exits else None
            kernel = row.booked if row else 0
            label = f"exit fill {_whole(incident.fills[booking.fill].quantity_e8)}"
            if first and booking.amount == incident.first_leg:
                kind = "emulated, recorded"
            first = False
        yield Line(
            label=label,
            defective=_figure(booking.amount, kind),
            kernel=_figure(kernel, "computed"),
            exchange=None if booking.fill is None else _NOT_RECORDED,
        )
    if settled:
        yield Line(label="exchange's settlement", kernel=_figure(settled, incident.settlement))


# -- THE OLD DEFECTS, TRIED ON THIS KERNEL ------------------------------------------------------


def _checks(recording: Recording, trade: str) -> Iterator[Check]:
    case, run = recording.case, recording.run
    _, usual = _rows(case, run, trade)
    unpriced, _ = _rows(case, _changed(run, _unpriced(run)), trade)
    booked = {row.booked for row in unpriced if row.kind.endswith("_FILL")}
    yield Check(
        defect=Defect.BOUND_PRICE,
        tried="the same exit fills without a price: booked 0 and flagged until settled",
        passed=booked == {0} and any("REALIZED_SKIPPED_NO_PRICE" in r.notes for r in unpriced),
    )
    cap = case.config.leverage_cap
    figures = set()
    for leverage in range(1, cap + 1):
        rows, _ = _rows(case, _changed(run, _levered(run, leverage)), trade)
        figures.add(rows[-1].realized)
    yield Check(
        defect=Defect.LEVERAGE,
        tried=f"the same fills at exchange leverage 1 to {cap}: the same PnL",
        passed=len(figures) == 1,
    )
    steps = [each for step in run.steps for each in (step, _restart(step))]
    often = list(play(case, _changed(run, steps)))
    yield Check(
        defect=Defect.RESETTLED,
        tried="a restart after every step: the same state, byte for byte",
        passed=often[-1].engine.state_hash() == usual.state_hash(),
    )


def _changed(run: Run, steps: Iterable[Step]) -> Run:
    return msgspec.structs.replace(run, steps=tuple(steps))


def _restart(step: Step) -> Step:
    return msgspec.structs.replace(step, record=None, restart=True, expect={})


def _unpriced(run: Run) -> Iterator[Step]:
    exits = {
        step.record.intent_id
        for step in run.steps
        if isinstance(step.record, KernelIntent) and step.record.command is KernelCommandType.EXIT
    }
    for step in run.steps:
        record = step.record
        if isinstance(record, VenueEvent) and step.order.partition(CHILD_MARK)[0] in exits:
            record = msgspec.structs.replace(record, price_e10=0, last_price_e10=0, cost=None)
        yield msgspec.structs.replace(step, record=record)


def _levered(run: Run, leverage: int) -> Iterator[Step]:
    for step in run.steps:
        record = step.record
        if isinstance(record, KernelIntent) and record.command is KernelCommandType.ENTER:
            record = msgspec.structs.replace(record, leverage=leverage)
        yield msgspec.structs.replace(step, record=record)
