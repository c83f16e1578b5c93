"""Until when somebody waits for a request, as the kernel's time: what comes later is not done.

A caller on this machine says it by the clock that all its processes share, so the time that a
request lay in a socket counts.  One that says nothing waits for a while from its arrival on.
"""

from __future__ import annotations

from typing import Any, Final

from dita.clock import KernelClock
from dita.errors import UsageError, shown

#: Field of a request: CLOCK_BOOTTIME in nanoseconds past which its caller does not wait.
UNTIL: Final = "until_boot_ns"
#: Field of a request: how long its caller waits from its arrival on, where clocks are not shared.
TIMEOUT: Final = "timeout_s"

#: How long somebody waits who does not say it, and who says it, at most.
TIMEOUT_S: Final = 10
TIMEOUT_MAX_S: Final = 600
#: The deadline of a caller who has hung up: any time is past it.
PAST_MS: Final = 1
_NS: Final = 10**9


def deadline_ms(request: dict[str, Any], time: KernelClock) -> int:
    """The kernel's time past which a request that has just arrived is not to be done.

    UsageError for a field that makes no sense.
    """
    now_ns = time.monotonic_ns()
    until_ns, timeout_s = request.get(UNTIL), request.get(TIMEOUT, TIMEOUT_S)
    if type(timeout_s) not in (int, float) or not 0 < timeout_s <= TIMEOUT_MAX_S:
        raise _refused(TIMEOUT, timeout_s, f"above 0 and up to {TIMEOUT_MAX_S} seconds")
    if until_ns is None:
        until_ns = now_ns + int(timeout_s * _NS)
    elif type(until_ns) is not int or not 0 < until_ns < 2**63:
        raise _refused(UNTIL, until_ns, "CLOCK_BOOTTIME in nanoseconds")
    # Never later than the longest wait, whatever another machine's clock says.
    return max(PAST_MS, time.at_ms(min(until_ns, now_ns + TIMEOUT_MAX_S * _NS)))


def _refused(field: str, found: object, expected: str) -> UsageError:
    return UsageError("request refused", expected=f"{field}: {expected}", found=shown(found))
