"""serve: a node that answers the control socket, obeys signals, and ends with a code.

`pink-ctl serve` calls this and shows what it is told.  ControlCommands carry out what other
commands ask of a running kernel; what changes something is journalled with operator and reason.
"""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from dita import __version__
from dita.contracts import ControlAction
from dita.engine import Outcome
from dita.errors import DitaError, Unforeseen, UsageError, VenueError
from dita.runtime.eventlog.chronicle import Chronicle
from dita.runtime.eventlog.event import Level
from dita.runtime.intake import Intents
from dita.runtime.node import DiskHangs, Node
from dita.runtime.operations.anchor import anchor
from dita.runtime.operations.balance import sample
from dita.runtime.operations.reconcile import Reconciling
from dita.runtime.operations.smoke import round_trip
from dita.runtime.operations.status import status_of
from dita.runtime.server.control_socket import ControlServer, Verb
from dita.runtime.server.deadlines import deadline_ms
from dita.runtime.state.place import place_by_settings
from dita.venues import UnknownSymbol

#: Of an operator's name and of a reason, so much is journalled.
NAME_MAX = 24
REASON_MAX = 200


class ControlCommands:
    """What the control socket can be asked."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.intents = Intents(node)

    def table(self) -> dict[str, Verb]:
        """Verb by name."""
        return {
            "about": self.about,
            "status": self.status,
            "intent": self.intent,
            "intent_plan": self.intent_plan,
            "hold": self.hold,
            "resume": self.resume,
            "stop": self.stop,
            "reconcile": self.reconcile,
            "reconcile_apply": self.reconcile_apply,
            "anchor": self.anchor,
            "smoke": self.smoke,
            "balance": self.balance,
        }

    async def status(self, request: dict[str, Any]) -> dict[str, Any]:
        """Everything that `pink-ctl status` shows."""
        del request
        return {"status": current_status(self.node)}

    async def about(self, request: dict[str, Any]) -> dict[str, Any]:
        """Who this is: place, settings, release, and what keeps entries out."""
        del request
        settings, kernel = self.node.settings, self.node.runtime.engine.kernel
        return {
            "about": {
                **place_by_settings(settings, self.node.directory),
                "version": __version__,
                "pid": os.getpid(),
                "state": self.node.runtime.state.name,
                "epoch": kernel.config.epoch,
                "leverage_cap": kernel.config.leverage_cap,
                "entries_frozen": list(kernel.freeze_causes()),
                "held_symbols": list(kernel.held_symbols()),
                "held_because": self.node.service.held_because,
                "trades": [slot.trade_id for slot in kernel.active_slots()],
                "symbols": list(self.node.venue.symbols()),
                "settings_hash": settings.settings_hash,
                "settings": settings.written(),
            }
        }

    async def intent(self, request: dict[str, Any]) -> dict[str, Any]:
        """A person's hand on the controls: ENTER, EXIT, CANCEL or RECONCILE."""
        sent = await self.intents.send_and_wait(request, ": ".join(_who_and_why(request)))
        return {**told(sent["outcome"]), "answer": sent["answer"]}

    async def intent_plan(self, request: dict[str, Any]) -> dict[str, Any]:
        """What such an intent would do, from the same checks; nothing is journalled or sent."""
        kernel = self.node.runtime.engine.kernel
        return {
            **await self.intents.plan(request),
            "trades": [slot.trade_id for slot in kernel.active_slots()],
            "state": self.node.runtime.state.name,
            "entries_frozen": list(kernel.freeze_causes()),
        }

    async def hold(self, request: dict[str, Any]) -> dict[str, Any]:
        """No new entries, of everything or of one symbol; exits go on."""
        return await self._control(ControlAction.HOLD, request)

    async def resume(self, request: dict[str, Any]) -> dict[str, Any]:
        """Entries may come again; not while a full disk has no room for exits."""
        if not request.get("asset"):
            self.node.log.keep_reserve()
        return await self._control(ControlAction.RESUME, request)

    async def _control(self, action: ControlAction, request: dict[str, Any]) -> dict[str, Any]:
        operator, reason = _who_and_why(request)
        fields = await self._control_fields(request)
        outcome = await self.node.service.control(action, reason, operator, **fields)
        kernel = self.node.runtime.engine.kernel
        return {
            **told(outcome),
            "entries_frozen": list(kernel.freeze_causes()),
            "held_symbols": list(kernel.held_symbols()),
        }

    async def _control_fields(self, request: dict[str, Any]) -> dict[str, Any]:
        """Id, symbol and deadline of a hold or a resume.  UsageError for a symbol that is not
        listed: it would hold nothing."""
        asset, deadline_ms = str(request.get("asset", "")), request.get("deadline_ms", 0)
        if asset:
            try:
                await self.node.venue.contract(asset)
            except UnknownSymbol as bad:
                raise UsageError(
                    "unknown symbol", expected="one that the exchange lists", found=asset
                ) from bad
            except VenueError:
                pass  # not known now; a hold does not wait for it
        return {
            "intent_id": str(request.get("intent_id") or uuid.uuid4().hex),
            "asset": asset,
            "deadline_ms": deadline_ms if type(deadline_ms) is int else 0,
        }

    async def reconcile(self, request: dict[str, Any]) -> dict[str, Any]:
        """Our view and the exchange's side by side, and a plan."""
        return await Reconciling(self.node).report(request)

    async def reconcile_apply(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out a plan that ``reconcile`` made."""
        return await Reconciling(self.node).apply(request, *_who_and_why(request))

    async def anchor(self, request: dict[str, Any]) -> dict[str, Any]:
        """Book the drift by cause and re-base the checksum; without ``apply`` only say so."""
        return await anchor(self.node, request, *_who_and_why(request))

    async def smoke(self, request: dict[str, Any]) -> dict[str, Any]:
        """One live round trip of the smallest size, checked at the venue."""
        return await round_trip(self.node, request, *_who_and_why(request))

    async def balance(self, request: dict[str, Any]) -> dict[str, Any]:
        """The venue's wallet now beside the published capital."""
        del request
        return await sample(self.node)

    async def stop(self, request: dict[str, Any]) -> dict[str, Any]:
        """Drain and end, as SIGTERM does."""
        del request
        self.node.service.stop_requested.set()
        return {}


def _who_and_why(request: dict[str, Any]) -> tuple[str, str]:
    """Operator and reason for the journal.

    The operator is whom the caller names; when that is another one than the user at the other end
    of the socket, both are journalled.
    """
    operator, reason = request.get("operator"), request.get("reason")
    if not _is_text(operator) or not _is_text(reason):
        raise UsageError(
            "request refused",
            expected="an operator and a reason, in letters that UTF-8 has",
            found="something else",
        )
    operator, peer = str(operator)[:NAME_MAX], str(request.get("peer", ""))[:NAME_MAX]
    named = operator if peer in ("", operator) else f"{operator} as {peer}"
    return named, str(reason)[:REASON_MAX]


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(value.strip().encode())
    except UnicodeEncodeError:  # half of a character, from bytes that no text had
        return False


def told(outcome: Outcome) -> dict[str, Any]:
    """An outcome for the person who asked."""
    done = outcome.kernel
    return {
        "accepted": done.accepted,
        "code": done.code.name,
        "severity": done.severity.name,
        "details": dict(done.details),
        "notes": [code.name for code in done.notes],
        "state": done.transition.after.name if done.transition else "",
        "slot": done.transition.slot_id if done.transition else -1,
        "effects": [effect.kind.name for effect in outcome.effects],
    }


def current_status(node: Node) -> dict[str, Any]:
    """The status record of a node."""
    status = status_of(
        node.service,
        epoch=node.runtime.engine.kernel.config.epoch,
        settings_hash=node.settings.settings_hash,
    )
    journal = node.journal_status()
    journal["commit_max_ms"] = node.runtime.commit_max_ms
    return {
        **status,
        "version": __version__,
        "place": place_by_settings(node.settings, node.directory),
        "uptime_ms": node.runtime.time.now_ms() - node.started_ms,
        "journal": journal,
        "log": node.log_status(),
    }


async def serve(
    node: Node,
    chronicle: Chronicle,
    *,
    once: bool = False,
    seen: Callable[[dict[str, Any]], None] = lambda status: None,
    beside: Callable[[Node], Awaitable[None]] | None = None,
    hold: str = "",
) -> bool:
    """Run until stopped; True when no order is in an unknown state at the end.

    ``once`` stops as soon as READY is reached, and shows the status then to ``seen``.  ``beside``
    runs next to the service (a table, a demo strategy); when it ends, serve ends.  ``hold``: the
    reason for which a person wants it held from the start.  With a disk that does not answer any
    more the process ends here: nothing else frees the threads that wait for it.
    """
    try:
        return await _served(node, chronicle, once, seen, beside, hold)
    except DiskHangs as hangs:
        chronicle.say(str(hangs), Level.ERROR)
        chronicle.close()  # nothing else does it now
        os._exit(int(hangs.exit_code))


async def _served(
    node: Node,
    chronicle: Chronicle,
    once: bool,
    seen: Callable[[dict[str, Any]], None],
    beside: Callable[[Node], Awaitable[None]] | None,
    hold: str,
) -> bool:
    loop = asyncio.get_running_loop()
    service = node.service
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop_requested.set)
    loop.add_signal_handler(signal.SIGHUP, chronicle.note, "TERMINAL")
    store = node.store
    chronicle.attach(node.runtime, store.journal.append_note, store.quarantine)
    node.log_status = chronicle.status
    chronicle.note("STARTED", **_start_of(node))
    control = ControlServer(
        node.directory,
        ControlCommands(node).table(),
        deadline_of=lambda request: deadline_ms(request, node.runtime.time),
        complain=lambda problem: node.runtime.alarms.once("control socket", problem),
    )
    try:
        await service.begin()  # no new risk, before anybody can ask for it
        await control.open()
        await node.start(chronicle.say, hold=hold)
        if not service.stop_requested.is_set():
            if once:
                seen(current_status(node))
                service.stop_requested.set()
            elif beside is not None:
                node.runtime.spawn(_then_stop(beside(node), service.stop_requested), "beside")
        await service.run()
        return await node.stop()
    except Unforeseen as bad:
        chronicle.note("FAILED", why=str(bad))
        await service.hold_for_a_look(bad.what)
        raise
    except DitaError as bad:
        chronicle.note("FAILED", why=str(bad))
        raise
    finally:
        await control.close()
        await service.close()
        node.close()


def _start_of(node: Node) -> dict[str, str | int]:
    """What a start says of itself."""
    settings = node.settings
    return {
        "version": __version__,
        "whose": f"{settings.kernel.namespace} ({settings.venue.environment})",
        "pid": os.getpid(),
        "settings": settings.settings_hash[:12],
        "unclean": node.budget.unclean,
    }


async def _then_stop(work: Awaitable[None], stop: asyncio.Event) -> None:
    await work
    stop.set()
