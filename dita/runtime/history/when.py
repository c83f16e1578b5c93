"""A moment as a person types it: 22:00, 2026-11-28, 2026-11-28 22:00, 3h, 2d.  All in UTC."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime
from typing import Final

from dita.errors import UsageError

DAY_MS: Final = 86_400_000
_UNITS: Final = {"m": 60_000, "h": 3_600_000, "d": DAY_MS, "w": 7 * DAY_MS}
_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?Z?", re.ASCII)


def moment_ms(text: str, now_ms: int, *, option: str = "--since") -> int:
    """The moment that a text means; a time of the day is the newest that has been.  UsageError."""
    text = text.strip()
    if text in ("today", "yesterday"):
        return day_ms(text, now_ms)[0]
    span = re.fullmatch(r"([0-9]{1,6}) ?([mhdw])", text)
    if span:
        return max(0, now_ms - int(span[1]) * _UNITS[span[2]])
    clock = _CLOCK.fullmatch(text)
    if clock:
        at_ms = 1_000 * (int(clock[1]) * 3_600 + int(clock[2]) * 60 + int(clock[3] or 0))
        today_ms = now_ms // DAY_MS * DAY_MS + at_ms
        return today_ms if today_ms <= now_ms else today_ms - DAY_MS
    with contextlib.suppress(ValueError):
        found = datetime.fromisoformat(text)
        known = found if found.tzinfo else found.replace(tzinfo=UTC)
        return max(0, int(known.timestamp())) * 1_000
    raise UsageError(
        f"{option} refused",
        expected='a time in UTC: 22:00, 2026-11-28, "2026-11-28 22:00", or back from now: 3h, 2d',
        found=text,
    )


def day_ms(text: str, now_ms: int) -> tuple[int, int]:
    """Beginning and end of a day: 2026-11-28, today, yesterday.  UsageError."""
    today = now_ms // DAY_MS * DAY_MS
    named = {"today": today, "yesterday": today - DAY_MS}
    begin = named.get(text)
    if begin is None:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise UsageError(
                "--day refused", expected="2026-11-28, today or yesterday (UTC)", found=text
            )
        begin = moment_ms(text, now_ms, option="--day")
    return begin, begin + DAY_MS
