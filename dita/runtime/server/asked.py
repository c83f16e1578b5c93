"""What was asked of a serve and not answered: ids that the same command uses again.

A command that timed out may have been done, so typing it again must not do it twice.  Each command
in flight has a small file in the state directory with its id; an answer removes it.  Knows digests
of requests, nothing of what they mean.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from dita.clock import Clock

#: So long after it was asked the same command is taken for the same wish.
KEPT_MS: Final = 600_000
#: Of a request, what may differ between two tries of the same wish.
NOT_THE_WISH: Final = frozenset({"operator", "reason", "wait_ms", "intent_id"})


class Kept(NamedTuple):
    """The id to send a wish with.  ``since_ms`` is not 0 when it was asked before."""

    intent_id: str
    since_ms: int


class Asked:
    """One wish at one state directory, from before it is sent until it is answered."""

    def __init__(self, directory: Path, clock: Clock, request: dict[str, Any]) -> None:
        self.path = directory / f"asked-{digest_of(request)}.json"
        self._clock = clock
        #: Why the id could not be written down; "" when it was.
        self.problem = ""

    def begin(self, new_id: Callable[[], str], *, again: bool = False) -> Kept:
        """The id of an unanswered try of the last ten minutes, or a new one, written down."""
        kept = Kept(new_id(), 0)
        try:
            return self._write(kept, again=again)
        except OSError as bad:
            # A full disk must not keep an exit from going out.
            self.problem = bad.strerror or str(bad)
            return kept

    def answered(self) -> None:
        """It was answered: the next time it is another wish."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as bad:
            self.problem = bad.strerror or str(bad)

    def _read(self) -> Kept | None:
        try:
            record = json.loads(self.path.read_text("ascii"))
            intent_id, since_ms = str(record["intent_id"]), int(record["asked_ms"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        fresh = 0 <= self._clock.now_ms() - since_ms < KEPT_MS
        return Kept(intent_id, since_ms) if fresh and intent_id.isalnum() else None

    def _write(self, kept: Kept, *, again: bool) -> Kept:
        """Write it down; one that is there and fresh is the wish's, whoever made it."""
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600)
        try:
            with os.fdopen(fd, "w") as file:
                json.dump({"intent_id": kept.intent_id, "asked_ms": self._clock.now_ms()}, file)
            try:
                os.link(temporary, self.path)  # there, or not there: never half written
            except FileExistsError:
                if not again and (there := self._read()) is not None:
                    return there
                os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)
        return kept


def digest_of(request: dict[str, Any]) -> str:
    """A wish as a name: equal for two tries of it, whoever types them and why."""

    def wish(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: wish(v) for k, v in value.items() if k not in NOT_THE_WISH}
        return value

    form = json.dumps(wish(request), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(form.encode()).hexdigest()[:24]
