"""The teller: an input and its outcome in, events out; the same live and out of the journal.

It is called directly after each input is applied, when the kernel stands as that input left it, and
remembers only what it needs to say a thing once: all of that follows from the inputs.  It does no
I/O, and what it says changes nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from dita.contracts import (
    EffectKind,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    OrderSide,
    TradeStage,
    VenueEvent,
)
from dita.engine import Engine, Outcome
from dita.journal import Note
from dita.journal.following import Look
from dita.runtime.eventlog.event import NOTHING, Event, EventName, Level
from dita.runtime.eventlog.page import Page
from dita.runtime.eventlog.words_account import (
    rare_causes,
    tell_account,
    tell_drift,
    tell_foreign_position,
    tell_freeze,
)
from dita.runtime.eventlog.words_intents import NO_NEWS, tell_intent, tell_refusal
from dita.runtime.eventlog.words_orders import tell_effects, tell_order_event, tell_trade
from dita.runtime.eventlog.words_runtime import tell_note

Kind = KernelEventKind

#: Kinds that change nothing worth a word unless their outcome says so.
QUIET_KINDS: Final = frozenset(
    {
        int(KernelCommandType.MARK_PRICE),
        int(Kind.POSITION),
        int(Kind.TICK),
        int(Kind.INCOME_READ),
    }
)
#: And those that are quiet unless they move quantity, money or a state.
QUIET_UNLESS: Final = QUIET_KINDS | {
    int(kind) for kind in (Kind.ORDER_ACK, Kind.ORDER_FINAL, Kind.FILL_SETTLED, Kind.ACCOUNT_UPDATE)
}
#: Effects that are questions: nobody has to hear of them.
QUESTIONS: Final = frozenset(
    {
        EffectKind.QUERY_ORDER,
        EffectKind.FINALISE,
        EffectKind.QUERY_POSITION,
        EffectKind.QUERY_BALANCE,
        EffectKind.FEED_SIZER,
    }
)
#: The same refusal again is told after this time.
REPEAT_MS: Final = 60_000
REFUSALS_MAX: Final = 256
STALE: Final = TradeStage.STALE_STATE_RECONCILING
_ACCOUNT: Final = frozenset(
    {Kind.ACCOUNT_UPDATE, Kind.FUNDING_FEE, Kind.TRANSFER, Kind.FOREIGN_FLOW}
)


class Teller:
    """Events of one engine.

    ``trace`` also tells of what changes nothing; ``detail`` adds to each event how the kernel came
    to it.
    """

    def __init__(self, engine: Engine, *, trace: bool = False, detail: bool = False) -> None:
        self._engine = engine
        self._trace = trace
        self._detail = detail
        self._frozen = engine.kernel.freeze_causes()
        self._causes = rare_causes(engine.snapshot)
        #: Positions that are not ours, as they were told last.
        self._foreign: dict[tuple[str, OrderSide], int] = {}
        #: Refusals as they were told last: when, and how often since.
        self._refused: dict[tuple[int, str, int], tuple[int, int]] = {}

    def tell(
        self, record: KernelIntent | VenueEvent, outcome: Outcome, seq: int = 0
    ) -> tuple[Event, ...]:
        """What an input that has just been applied is worth telling."""
        if not self._trace and self._is_quiet(record, outcome):
            return NOTHING
        detail = _detail_of(outcome) if self._detail else ""
        page = Page(self._engine.kernel, record, outcome, seq, trace=self._trace, detail=detail)
        if not outcome.kernel.accepted:
            self._refusal(page)
            return tuple(page.events)
        if isinstance(record, KernelIntent):
            tell_intent(page, record)
        else:
            self._event(page, record)
        tell_effects(page)
        tell_trade(page)
        self._account(page)
        return tuple(page.events)

    def note(self, note: Note, seq: int = 0) -> tuple[Event, ...]:
        """A note of the runtime.  At a start all that is odd is told anew."""
        if note.name == EventName.STARTED:
            self._foreign.clear()
            self._refused.clear()
        return (tell_note(note, seq),)

    def memory(self) -> bytes:
        """What it remembers beside the engine's state; for whoever goes on later."""
        return msgspec.json.encode((list(self._foreign.items()), list(self._refused.items())))

    def remember(self, memory: bytes) -> None:
        """Go on where another teller of the same engine stopped."""
        foreign, refused = msgspec.json.decode(memory)
        self._foreign = {(asset, OrderSide(side)): size for (asset, side), size in foreign}
        self._refused = {tuple(key): tuple(value) for key, value in refused}

    # -- inputs ------------------------------------------------------------------------------------

    def _refusal(self, page: Page) -> None:
        """A refusal; the same one again is told once a minute, with how often it came."""
        record = page.record
        if isinstance(record, VenueEvent):
            tell_refusal(page)
            return
        key = (record.command, record.trade_id or str(record.slot_id), page.code)
        told_ms, times = self._refused.get(key, (0, 0))
        times += 1
        if record.received_ms - told_ms >= REPEAT_MS or page.trace:
            tell_refusal(page, times)
            told_ms, times = record.received_ms, 0
        if len(self._refused) >= REFUSALS_MAX:
            self._refused.clear()
        self._refused[key] = (told_ms, times)

    def _is_quiet(self, record: KernelIntent | VenueEvent, outcome: Outcome) -> bool:
        """Is it certain that there is nothing to tell?  Most inputs end here."""
        done = outcome.kernel
        moved = done.transition
        if not done.accepted:
            return isinstance(record, VenueEvent) and done.code in NO_NEWS
        if done.trigger not in QUIET_UNLESS:
            return False
        if any(effect.kind not in QUESTIONS for effect in outcome.effects):
            return False
        if moved is None:
            if done.trigger is Kind.ACCOUNT_UPDATE:
                return self._is_as_before(outcome)
            return done.trigger is not Kind.POSITION  # on a symbol that we do not hold: news
        if moved.quantity_delta_e8 or moved.realized_delta or moved.trueup_delta or moved.fee_delta:
            return False
        return moved.before is moved.after and not (done.notes and moved.after is not STALE)

    def _is_as_before(self, outcome: Outcome) -> bool:
        """Is a balance no reason to look at what stops entries?"""
        account = outcome.account
        if account.entries_frozen or self._frozen:
            return False
        return rare_causes(account) == self._causes

    def _event(self, page: Page, e: VenueEvent) -> None:
        if e.kind in _ACCOUNT:
            tell_account(page, e)
        elif e.kind is Kind.POSITION:
            self._position(page, e)
        elif e.kind in (Kind.TICK, Kind.INCOME_READ):
            if not page.outcome.effects:
                page.add(EventName.TIME, Level.DEBUG, e.kind.name.lower().replace("_", " "))
        else:
            tell_order_event(page, e)

    def _position(self, page: Page, e: VenueEvent) -> None:
        if page.done is not None:
            page.add(EventName.POSITION, Level.DEBUG, f"{e.side.name} {e.quantity_e8}")
            return
        sides = (e.side,) if e.side else tuple(OrderSide)
        before = max((self._foreign.pop((e.asset, side), 0) for side in sides), default=0)
        if e.quantity_e8:
            self._foreign[e.asset, e.side] = e.quantity_e8
        if before != e.quantity_e8:
            tell_foreign_position(page, e)

    def _account(self, page: Page) -> None:
        """Entries may have been stopped, or the difference may have another cause."""
        causes = self._engine.kernel.freeze_causes()
        if causes != self._frozen:
            tell_freeze(page, self._frozen, causes)
            self._frozen = causes
        rare = rare_causes(self._engine.snapshot)
        if rare != self._causes:
            tell_drift(page, self._engine.snapshot)
            self._causes = rare


def _detail_of(outcome: Outcome) -> str:
    """Trigger, code, transition, notes and effects in the kernel's own terms."""
    done = outcome.kernel
    parts = [f"{done.event_seq} {done.trigger.name} {done.code.name}"]
    if done.transition is not None:
        moved = done.transition
        parts.append(f"slot {moved.slot_id} {moved.before.name}>{moved.after.name}")
        if moved.order_no:
            parts.append(f"order {moved.order_no}")
    parts += [note.name for note in done.notes]
    parts += [effect.kind.name for effect in outcome.effects]
    return " ".join(parts)


#: The same as ``Teller._is_quiet`` asks, by the numbers of a packed outcome.
_NO_NEWS: Final = frozenset(int(code) for code in NO_NEWS)
_MARK: Final = int(KernelCommandType.MARK_PRICE)
_POSITION: Final = int(Kind.POSITION)
_FIRST_EVENT: Final = int(min(Kind))


def worth_a_word(looks: list[Look]) -> list[int]:
    """Of which inputs may the teller have something to say?  For whoever goes through a journal at
    batch speed: of the others it has nothing."""
    return [
        index
        for index, (code, kind, accepted, before, after, effects, notes, trade_no) in enumerate(
            looks
        )
        if (
            (
                kind not in QUIET_KINDS
                or effects
                or notes
                or before != after
                or (kind == _POSITION and not trade_no)
            )
            if accepted
            else (kind != _MARK and (kind < _FIRST_EVENT or code not in _NO_NEWS))
        )
    ]
