"""What a serve says while it runs is what its journal says later: the same events, to the letter.

The loop, the journal and the engine are real; the log is a list.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from support.engine_driver import Kind
from support.poison import Shop, in_the_shop, poison, poisoned

from dita.clock import ManualClock
from dita.contracts import KernelIntent, VenueEvent
from dita.errors import KernelFault
from dita.journal import JournalReader
from dita.runtime.eventlog.alerts import Alert, Alerter
from dita.runtime.eventlog.chronicle import Chronicle
from dita.runtime.eventlog.event import Event, EventName, Level
from dita.runtime.eventlog.output import Output
from dita.runtime.history.index import Index
from dita.runtime.loop import RunState

__all__ = ["poison"]


class Heard:
    """A log that is a list."""

    lost, trouble = 0, ""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def put(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        """There is nothing to close."""

    @property
    def loud(self) -> list[str]:
        """Of what needs a person: ``NAME words``."""
        return [f"{e.name} {e.text}" for e in self.events if e.level >= Level.WARNING]


class Called(Alerter):
    """Calls nobody."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.told: list[str] = []
        super().__init__(*args, **options)

    def _call(self, alert: Alert, event: Event, now_ns: int) -> None:
        self.told.append(self.text(alert, event))


def listened(shop: Shop, alerter: Alerter | None = None) -> tuple[Chronicle, Heard]:
    heard = Heard()
    chronicle = Chronicle(shop.clock, cast(Output, heard), trace=False, detail=False)
    chronicle.alerter = alerter
    chronicle.attach(shop.runtime, shop.store.journal.append_note, shop.store.quarantine)
    return chronicle, heard


def later(folder: Path) -> list[Event]:
    """What the journal says."""
    index = Index.open(folder)
    events = list(index.events(level=Level.DEBUG))
    index.close()
    return events


def test_states_gaps_and_alarms_are_noted_where_they_happened(tmp_path: Path) -> None:
    async def scene(shop: Shop) -> None:
        _, heard = listened(shop)
        await shop.open_a_position()
        runtime = shop.runtime
        runtime.alarms.begin("question: balance", "no answer for 20 s")
        runtime.state = RunState.DEGRADED
        shop.clock.advance_ms(2_500)
        runtime.state = RunState.READY
        await shop.ask(VenueEvent(kind=Kind.TICK, received_ms=1))
        runtime.alarms.end("question: balance")
        told = [f"{e.level.name} {e.name} {e.text}" for e in heard.events]
        assert "ERROR ALARM question: balance: no answer for 20 s" in told
        assert any(line.startswith("WARNING GAP ") for line in told)
        assert any(line.startswith("INFO HEALED") and "2.5 s" in line for line in told)
        assert any(line.startswith("INFO ALARM_ENDED question: balance") for line in told)
        shop.store.journal.write_and_sync()
        assert later(tmp_path) == heard.events
        assert {e.name for e in heard.events} >= {EventName.FILL, EventName.STATE, EventName.GAP}

    in_the_shop(tmp_path, scene)


@pytest.mark.usefixtures("poison")
def test_an_input_that_is_set_aside_is_told_at_once_and_calls_somebody(tmp_path: Path) -> None:
    async def scene(shop: Shop) -> None:
        alerter = Called("/nowhere", whose="pink", throttle_s=60, clock=ManualClock(1))
        _, heard = listened(shop, alerter)
        await shop.open_a_position()
        seq = shop.store.journal.last_seq + 1
        fill = VenueEvent(kind=Kind.TICK, received_ms=1)
        await asyncio.gather(
            shop.ask(poisoned(1), after_ms=0), shop.ask(fill, after_ms=0), shop.ask(fill)
        )
        aside = next(line for line in heard.loud if line.startswith("CONTROL"))
        assert f"an input is set aside: record {seq} broke an invariant" in aside
        assert any(line.startswith("DOUBT") or line.startswith("FROZEN") for line in heard.loud)
        before = len(heard.loud)
        await shop.ask(poisoned(1))  # counted in status
        assert shop.store.quarantine.repeated == 1 and len(heard.loud) == before
        shop.store.journal.write_and_sync()
        assert later(tmp_path) == [e for e in heard.events if e.seq]
        alerter.close()
        assert any("QUARANTINE" in text for text in alerter.told)

    in_the_shop(tmp_path, scene)


@pytest.mark.usefixtures("poison")
def test_what_the_recovery_sets_aside_is_told_when_somebody_listens(tmp_path: Path) -> None:
    async def dies(shop: Shop) -> None:
        await shop.open_a_position()
        bad = poisoned(shop.store.engine.kernel.now_ms + 5)
        shop.store.journal.append(bad, shop.store.engine.kernel.pack(bad).pack())
        shop.store.journal.write_and_sync()

    async def again(shop: Shop) -> None:
        _, heard = listened(shop)
        assert heard.loud[0].startswith("CONTROL")

    in_the_shop(tmp_path, dies)
    # Until then the journal tells what came before it, and nothing fails.
    before = later(tmp_path)
    assert [e.name for e in before][-1] is EventName.FILL
    in_the_shop(tmp_path, again)
    after = later(tmp_path)
    assert after[: len(before)] == before
    assert "record" in after[len(before)].text and after[len(before)].level is Level.CRITICAL
    assert JournalReader.open(tmp_path / "journal").quarantined


@pytest.mark.usefixtures("poison")
def test_the_last_words_of_a_process_that_ends_because_of_it(tmp_path: Path) -> None:
    async def scene(shop: Shop) -> None:
        chronicle, heard = listened(shop)
        with pytest.raises(KernelFault, match="it belongs to no slot"):
            await shop.ask(poisoned(1))
        chronicle.close()
        assert any(line.startswith("CONTROL an input is set aside") for line in heard.loud)
        assert later(tmp_path) == [e for e in heard.events if e.seq]

    in_the_shop(tmp_path, scene)


def test_words_that_fail_do_not_reach_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(shop: Shop) -> None:
        chronicle, heard = listened(shop)
        monkeypatch.setattr("dita.runtime.eventlog.teller.tell_intent", _breaks)
        await shop.open_a_position()
        assert chronicle.status()["without_words"] == 1
        assert any("has no words" in line for line in heard.loud)

    in_the_shop(tmp_path, scene)


def _breaks(page: object, intent: KernelIntent) -> None:
    raise RuntimeError("no words")
