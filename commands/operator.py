"""How a person's word reaches a running kernel: which one, the plan, the request, the answer.

Shared by `intent`, `hold` and `resume`.  Says first whose money is spoken to, then what would be
done; with --apply it is done, once, and journalled with the operator's name and reason.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from dita.clock import SystemClock
from dita.errors import (
    ExitCode,
    NotRunning,
    RefusedForSafety,
    SettingsError,
    Unanswered,
    UsageError,
)

from .show.render import emit_json, note, show, speak_of
from .typed import again as again_line

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is journalled.")]
Operator = Annotated[
    str,
    typer.Option(
        "--operator", metavar="NAME", help="Name to journal. Default: the user that types it."
    ),
]
Again = Annotated[
    bool,
    typer.Option("--again", help="Send it as new, even if the same one is still unanswered."),
]
Wait = Annotated[
    int, typer.Option("--wait", min=0, max=120, help="Seconds to wait for the exchange's answer.")
]
#: How long serve may take before a request is no longer what its operator wants.
PATIENCE_S = 5

#: Of settings that differ so many are told, the file first.
DIFFERENCES_SHOWN = 4
UNSET = "not set"

#: How an intent that the kernel took is called, by what the exchange said of its order.
BY_RESULT = {
    "ended": "not done",
    "rejected": "not done",
    "rate_limited": "not done",
    "unknown": "not known yet",
}

#: The command that helps when an intent was refused, where there is a better one than status.
NEXT = {
    "ANCHOR_NOT_QUIET": "",
    "FOREIGN_POSITION": "pink-ctl reconcile",
    "STALE_STATE": "pink-ctl reconcile",
}


class Wish(NamedTuple):
    """One thing that a person wants: in words, and as a request."""

    what: str
    request: dict[str, Any]


class Typed(NamedTuple):
    """What a person typed beside the wish itself."""

    reason: str
    config: Path | None
    state_dir: Path | None
    apply: bool
    as_json: bool
    operator: str = ""
    again: bool = False
    wait_s: int = 0


class Serve(NamedTuple):
    """The running serve that is spoken to.

    ``about`` is what it says of itself; one of an older release only has a status.
    """

    directory: Path
    about: dict[str, Any]

    @property
    def foretells(self) -> bool:
        """Can it say what an intent would do?"""
        return "settings" in self.about


# -- which serve -----------------------------------------------------------------------------------


def reach(typed: Typed, *, visits: bool = False) -> Serve:
    """Find the running serve and say whose money it is; not when nobody runs and it ``visits``.

    NotRunning.  RefusedForSafety when something is to be done and serve runs with other settings
    than those that were found.
    """
    from dita.runtime.server.call import call
    from dita.runtime.state.directory import place_of
    from dita.runtime.state.place import place_by_directory

    place = place_of(typed.config, typed.state_dir, os.environ)
    config = place.found.file if place.found is not None else None
    try:
        about = call(place.directory, {"verb": "about"}, PATIENCE_S)["about"]
    except UsageError:
        status = call(place.directory, {"verb": "status"})["status"]
        about = {**place_by_directory(place.directory, config), **status, "config": ""}
    except NotRunning:
        if not visits:
            speak_of(place_by_directory(place.directory, config), quiet=typed.as_json)
        raise
    except Unanswered as silent:
        speak_of(place_by_directory(place.directory, config), quiet=typed.as_json)
        raise Unanswered(
            "serve does not answer, so nothing was asked of it",
            expected=silent.expected,
            found=silent.found,
            action=silent.action,
        ) from silent
    speak_of(about, quiet=typed.as_json)
    if "settings" not in about:
        note("serve is of another release than this pink-ctl: restart it when you can")
    elif place.found is not None:
        _same_settings(place, about, typed)
    return Serve(place.directory, about)


def _same_settings(place: Any, about: dict[str, Any], typed: Typed) -> None:
    from dita.runtime.state.directory import DEMO, load_from

    differences = []
    named, started = (_real(str(each)) for each in (place.found.file or DEMO, about["config"]))
    if named != started:
        differences.append(f"it was started with {about['config']}")
    try:
        settings, _ = load_from(place.found, typed.state_dir, os.environ, keys=False)
    except SettingsError as bad:
        note(f"{place.found.file} cannot be used any more ({bad}); serve goes on with what it read")
    else:
        ours = settings.written()
        differences += [
            f"{key} is {about['settings'].get(key, UNSET)} there and {ours.get(key, UNSET)} here"
            for key in sorted(ours.keys() | about["settings"].keys())
            if key != "journal.directory" and ours.get(key) != about["settings"].get(key)
        ]
    if not differences:
        return
    found = "; ".join(differences[:DIFFERENCES_SHOWN])
    if len(differences) > DIFFERENCES_SHOWN:
        found += f"; and {len(differences) - DIFFERENCES_SHOWN} more"
    line = again_line(drop=("--config", "--state-dir"), add=("--state-dir", str(place.directory)))
    if not typed.apply:
        note(f"serve runs with other settings than {named}: {found}; --apply would be refused")
        return
    raise RefusedForSafety(
        f"serve runs with other settings than {named} ({place.found.how})",
        expected="the same settings file with the same values",
        found=found,
        action=f"if that serve is meant, name its directory: {line}",
    )


def _real(config: str) -> str:
    from dita.runtime.state.directory import DEMO

    return config if config == DEMO else os.path.realpath(config)


def operator_of(typed: str) -> str:
    """Who types: as said, else who became root by sudo, else the user.

    The environment's LOGNAME is nobody's word; the socket tells serve the user in any case.
    """
    from dita.runtime.server.call import user_name

    if typed:
        return typed
    by_sudo = os.environ.get("SUDO_USER", "") if os.geteuid() == 0 else ""
    return by_sudo or user_name(os.getuid())


# -- doing -----------------------------------------------------------------------------------------


def send(wish: Wish, typed: Typed) -> None:
    """Say what would be done, or do it and say what came of it; exit 1 when it was refused."""
    serve = reach(typed)
    if not typed.apply:
        plan_control(serve, wish, typed)
        return
    answer = do(serve, wish, typed)
    if typed.as_json:
        emit_json({"applied": True, "operator": operator_of(typed.operator), **answer})
    else:
        tell(wish, answer)
    if not answer["accepted"]:
        raise typer.Exit(ExitCode.DIFFERENCE)


def plan_control(serve: Serve, wish: Wish, typed: Typed) -> None:
    """A hold or a resume that is not done yet."""
    frozen = list(serve.about.get("entries_frozen", ()))
    if typed.as_json:
        emit_json({"applied": False, "plan": [wish.what], "entries_frozen": frozen})
        return
    show(f"would {wish.what}")
    _tell_frozen(frozen, serve.about)
    to_apply(serve)


def _tell_frozen(frozen: list[str], about: dict[str, Any]) -> None:
    if frozen:
        because = about.get("held_because", "")
        note(f"entries are frozen now: {', '.join(frozen)}{f' ({because})' if because else ''}")


def to_apply(serve: Serve, *, refused: bool = False) -> None:
    """The last lines of every plan; what would be refused is not proposed."""
    who = serve.about
    note(f"to {who['namespace']} ({who['state']}, process {who['pid']}) in {serve.directory}")
    if refused:
        note("nothing was sent")
        return
    note("nothing was sent; to do it:")
    note(f"next: {again_line(add=('--apply',))}")


def do(serve: Serve, wish: Wish, typed: Typed) -> dict[str, Any]:
    """Send it once.  Unanswered (exit 4) keeps its id for the same command typed again."""
    import uuid

    from dita.runtime.server.asked import Asked
    from dita.runtime.server.call import call

    asked = Asked(serve.directory, SystemClock(), wish.request)
    kept = asked.begin(lambda: uuid.uuid4().hex, again=typed.again)
    if asked.problem:
        note(f"the id of this command cannot be stored ({asked.problem}): do not type it twice")
    if kept.since_ms:
        from .show.times import utc

        note(f"the same command got no answer at {utc(kept.since_ms)}; its id is used again, so")
        note("that nothing is done twice (--again: send it as new)")
    request = _request(wish, typed, kept.intent_id)
    try:
        answer = call(
            serve.directory, request, PATIENCE_S + typed.wait_s, taken_within_s=PATIENCE_S
        )
    except Unanswered as silent:
        raise _unknown(wish, silent) from silent
    except Exception:
        asked.answered()
        raise
    asked.answered()
    answer["repeated"] = bool(kept.since_ms) and answer["code"] == "DUPLICATE_EVENT"
    if answer["repeated"]:
        answer["accepted"] = True
    return answer


def _request(wish: Wish, typed: Typed, intent_id: str) -> dict[str, Any]:
    request = {
        **wish.request,
        "operator": operator_of(typed.operator),
        "reason": typed.reason,
        "wait_ms": typed.wait_s * 1_000,
    }
    if "intent" in request:
        return {**request, "intent": {**request["intent"], "intent_id": intent_id}}
    return {**request, "intent_id": intent_id}


def _unknown(wish: Wish, silent: Unanswered) -> Unanswered:
    return Unanswered(
        f"outcome unknown: {wish.what}",
        expected=silent.expected,
        found="none; it may have been done, or be done when serve goes on",
        action="see what came of it: pink-ctl status; the same command typed again within 10"
        " minutes is not done twice",
    )


# -- telling ---------------------------------------------------------------------------------------


def tell(wish: Wish, answer: dict[str, Any]) -> None:
    """What came of it."""
    if answer.get("repeated"):
        show(f"done before: {wish.what}: the first try had been taken")
        note("next: pink-ctl status")
        return
    if answer["accepted"]:
        still = answer.get("entries_frozen", []) if wish.request["verb"] == "resume" else []
        if still:
            show(f"the hold is over, and entries are still frozen: {', '.join(still)}")
            note("next: pink-ctl status")
            return
        result = (answer.get("answer") or {}).get("result", "")
        if result in BY_RESULT:
            show(f"{BY_RESULT[result]}: {wish.what}")
            return
        state = f", slot {answer['slot']} is {answer['state']}" if answer["state"] else ""
        show(f"done: {wish.what}{state}")
        return
    show(f"refused: {refusal_text(answer)}")
    say_next(answer["code"])


def refusal_text(answer: dict[str, Any]) -> str:
    """A refusal's code, with what it is about."""
    details = ", ".join(f"{key} {value}" for key, value in answer["details"].items())
    return f"{answer['code']}{f' ({details})' if details else ''}"


def say_next(code: str) -> None:
    """What a refusal means, and the command that helps."""
    from dita.refusals import MEANINGS

    meaning = MEANINGS.get(code, "")
    command = NEXT.get(code, "pink-ctl status")
    if meaning:
        note(meaning)
    if command:
        note(f"next: {command}")
