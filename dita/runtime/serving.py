"""serve: a bundle that answers the control socket, obeys signals, and ends with a code.

`pink-ctl serve` calls this and shows what it is told.  Verbs are the hands of other commands on a
running kernel; each that changes something is journalled with its operator and reason.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from dita import __version__
from dita.contracts import ControlAction, KernelCommandType, KernelIntent
from dita.engine import Outcome
from dita.errors import DitaError, UsageError
from dita.runtime.anchoring import anchor
from dita.runtime.control import ControlServer, Verb
from dita.runtime.eventlog.chronicle import Chronicle
from dita.runtime.factory import Bundle
from dita.runtime.reconciling import Reconciling
from dita.runtime.roundtrip import round_trip
from dita.runtime.sampling import sample
from dita.runtime.status import status_of

HANDS_ON = (
    KernelCommandType.ENTER,
    KernelCommandType.EXIT,
    KernelCommandType.CANCEL,
    KernelCommandType.RECONCILE,
)


class Verbs:
    """What the control socket can be asked."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def table(self) -> dict[str, Verb]:
        """Verb by name."""
        return {
            "status": self.status,
            "intent": self.intent,
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
        return {"status": current_status(self.bundle)}

    async def intent(self, request: dict[str, Any]) -> dict[str, Any]:
        """A person's hand on the controls: ENTER, EXIT, CANCEL or RECONCILE."""
        intent = await self._intent(request)
        outcome = await self.bundle.runtime.ask(intent)
        return told(outcome)

    async def _intent(self, request: dict[str, Any]) -> KernelIntent:
        operator, reason = _who_and_why(request)
        try:
            intent = msgspec.convert(
                {"received_ms": 1, **dict(request["intent"])}, KernelIntent, strict=True
            )
        except (msgspec.ValidationError, KeyError, TypeError, ValueError) as bad:
            raise UsageError(
                "intent refused", expected="the fields of a KernelIntent", found=str(bad)
            ) from bad
        if intent.command not in HANDS_ON:
            raise UsageError(
                "intent refused",
                expected=", ".join(command.name for command in HANDS_ON),
                found=intent.command.name,
            )
        if intent.command is KernelCommandType.ENTER and intent.contract is None:
            contract = await self.bundle.venue.contract(intent.asset)
            intent = replace(intent, contract=contract)
        if not intent.intent_id:
            number = self.bundle.runtime.engine.kernel.event_seq
            intent = replace(intent, intent_id=f"{operator}-{number}")
        return replace(intent, reason=f"{operator}: {reason}")

    async def hold(self, request: dict[str, Any]) -> dict[str, Any]:
        """No new entries; exits go on."""
        return await self._control(ControlAction.HOLD, request)

    async def resume(self, request: dict[str, Any]) -> dict[str, Any]:
        """Entries may come again; not while a full disk has no room for exits."""
        self.bundle.log.keep_reserve()
        return await self._control(ControlAction.RESUME, request)

    async def _control(self, action: ControlAction, request: dict[str, Any]) -> dict[str, Any]:
        operator, reason = _who_and_why(request)
        return told(await self.bundle.service.control(action, reason, operator))

    async def reconcile(self, request: dict[str, Any]) -> dict[str, Any]:
        """Our view and the exchange's side by side, and a plan."""
        return await Reconciling(self.bundle).report(request)

    async def reconcile_apply(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out a plan that ``reconcile`` made."""
        return await Reconciling(self.bundle).apply(request, *_who_and_why(request))

    async def anchor(self, request: dict[str, Any]) -> dict[str, Any]:
        """Book the drift by cause and re-base the checksum; without ``apply`` only say so."""
        return await anchor(self.bundle, request, *_who_and_why(request))

    async def smoke(self, request: dict[str, Any]) -> dict[str, Any]:
        """One live round trip of the smallest size, checked at the venue."""
        return await round_trip(self.bundle, request, *_who_and_why(request))

    async def balance(self, request: dict[str, Any]) -> dict[str, Any]:
        """The venue's wallet now beside the published capital."""
        del request
        return await sample(self.bundle)

    async def stop(self, request: dict[str, Any]) -> dict[str, Any]:
        """Drain and end, as SIGTERM does."""
        del request
        self.bundle.service.stop_requested.set()
        return {}


def _who_and_why(request: dict[str, Any]) -> tuple[str, str]:
    operator, reason = request.get("operator"), request.get("reason")
    if not isinstance(operator, str) or not operator or not isinstance(reason, str) or not reason:
        raise UsageError("request refused", expected="an operator and a reason", found="neither")
    return operator[:24], reason[:200]


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


def current_status(bundle: Bundle) -> dict[str, Any]:
    """The status record of a bundle."""
    status = status_of(
        bundle.service,
        epoch=bundle.runtime.engine.kernel.config.epoch,
        settings_hash=bundle.settings.settings_hash,
    )
    return {**status, "journal": _journal_size(bundle)}


def _journal_size(bundle: Bundle) -> dict[str, Any]:
    """What the journal takes and what is left for it, in bytes: it only grows."""
    folder = Path(bundle.store.journal.directory)
    disk = os.statvfs(folder)
    return {
        "records": bundle.store.journal.last_seq,
        "bytes": sum(file.stat().st_size for file in folder.glob("*.seg")),
        "free_bytes": disk.f_bavail * disk.f_frsize,
        "reserve_bytes": bundle.settings.journal.reserve_bytes,
    }


async def serve(
    bundle: Bundle,
    chronicle: Chronicle,
    *,
    once: bool = False,
    seen: Callable[[dict[str, Any]], None] = lambda status: None,
    beside: Callable[[Bundle], Awaitable[None]] | None = None,
) -> bool:
    """Run until stopped; True when nothing is unknown at the end.

    ``once`` stops as soon as READY is reached, and shows the status then to ``seen``.  ``beside``
    runs next to the service (a table, a demo strategy); when it ends, serve ends.
    """
    loop = asyncio.get_running_loop()
    service = bundle.service
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop_requested.set)
    loop.add_signal_handler(signal.SIGHUP, chronicle.note, "TERMINAL")
    chronicle.attach(bundle.runtime, bundle.store.journal.append_note)
    chronicle.note("STARTED", **_start_of(bundle))
    control = ControlServer(bundle.directory, Verbs(bundle).table())
    try:
        await control.open()
        await bundle.start(chronicle.say)
        if once:
            seen(current_status(bundle))
            service.stop_requested.set()
        elif beside is not None:
            bundle.runtime.spawn(_then_stop(beside(bundle), service.stop_requested), "beside")
        await service.run()
        return await bundle.stop()
    except DitaError as bad:
        chronicle.note("FAILED", why=str(bad))
        raise
    finally:
        await control.close()
        await service.close()
        bundle.close()


def _start_of(bundle: Bundle) -> dict[str, str | int]:
    """What a start says of itself."""
    settings = bundle.settings
    return {
        "version": __version__,
        "whose": f"{settings.kernel.namespace} ({settings.venue.environment})",
        "pid": os.getpid(),
        "settings": settings.settings_hash[:12],
        "unclean": bundle.budget.unclean,
    }


async def _then_stop(work: Awaitable[None], stop: asyncio.Event) -> None:
    await work
    stop.set()
