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

from dita.contracts import ControlAction, KernelCommandType, KernelIntent
from dita.engine import Outcome
from dita.errors import UsageError, Unforeseen
from dita.runtime.anchoring import anchor
from dita.runtime.control import ControlServer, Verb
from dita.runtime.deadlines import deadline_ms
from dita.runtime.factory import Bundle, DiskHangs
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
            intent = replace(intent, intent_id=self.bundle.service.new_id(operator))
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
        outcome = await self.bundle.service.control(
            action, reason, operator, deadline_ms=request.get("deadline_ms", 0)
        )
        return told(outcome)

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
    if not _is_text(operator) or not _is_text(reason):
        raise UsageError(
            "request refused",
            expected="an operator and a reason, in letters that UTF-8 has",
            found="something else",
        )
    return str(operator)[:24], str(reason)[:200]


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


def current_status(bundle: Bundle) -> dict[str, Any]:
    """The status record of a bundle."""
    status = status_of(
        bundle.service,
        epoch=bundle.runtime.engine.kernel.config.epoch,
        settings_hash=bundle.settings.settings_hash,
    )
    return {**status, "journal": _journal_size(bundle)}


def _journal_size(bundle: Bundle) -> dict[str, Any]:
    """What the journal takes and what is left for it, in bytes, -1 where the disk does not say."""
    folder = Path(bundle.store.journal.directory)
    try:
        disk = os.statvfs(folder)
        size, free = sum(f.stat().st_size for f in folder.glob("*.seg")), disk.f_bavail
        free *= disk.f_frsize
    except OSError:
        size = free = -1
    return {
        "records": bundle.store.journal.last_seq,
        "bytes": size,
        "free_bytes": free,
        "reserve_bytes": bundle.settings.journal.reserve_bytes,
        "commit_ms": bundle.runtime.commit_latency_ms,
        "commit_max_ms": bundle.runtime.commit_max_ms,
    }


async def serve(
    bundle: Bundle,
    say: Callable[[str], None],
    *,
    once: bool = False,
    seen: Callable[[dict[str, Any]], None] = lambda status: None,
    beside: Callable[[Bundle], Awaitable[None]] | None = None,
) -> bool:
    """Run until stopped; True when nothing is unknown at the end.

    ``once`` stops as soon as READY is reached, and shows the status then to ``seen``.  ``beside``
    runs next to the service (a table, a demo strategy); when it ends, serve ends.  With a disk that
    does not answer any more the process ends here: nothing else frees the threads that wait for it.
    """
    try:
        return await _served(bundle, say, once, seen, beside)
    except DiskHangs as hangs:
        say(str(hangs))
        os._exit(int(hangs.exit_code))


async def _served(
    bundle: Bundle,
    say: Callable[[str], None],
    once: bool,
    seen: Callable[[dict[str, Any]], None],
    beside: Callable[[Bundle], Awaitable[None]] | None,
) -> bool:
    loop = asyncio.get_running_loop()
    service = bundle.service
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop_requested.set)
    control = ControlServer(
        bundle.directory,
        Verbs(bundle).table(),
        deadline_of=lambda request: deadline_ms(request, bundle.runtime.time),
        complain=lambda problem: bundle.runtime.alarms.once("control socket", problem),
    )
    try:
        await service.begin()  # no new risk, before anybody can ask for it
        await control.open()
        await bundle.start(say)
        if not service.stop_requested.is_set():
            say(f"{bundle.runtime.state.name}: {bundle.settings.kernel.namespace}")
            if once:
                seen(current_status(bundle))
                service.stop_requested.set()
            elif beside is not None:
                bundle.runtime.spawn(_then_stop(beside(bundle), service.stop_requested), "beside")
        await service.run()
        say("draining")
        return await bundle.stop()
    except Unforeseen as bad:
        await service.hold_for_a_look(bad.what)
        raise
    finally:
        await control.close()
        await service.close()
        bundle.close()


async def _then_stop(work: Awaitable[None], stop: asyncio.Event) -> None:
    await work
    stop.set()
