"""May a new trade be entered now, and if not: what does it wait for, in words.

Status asks; the answer is the kernel's own, read off its state, so that a green READY is true.
Limits and holds of one symbol are not in it: they depend on the entry.
"""

from __future__ import annotations

from typing import Final

from dita.contracts import AccountSnapshot, DriftCause
from dita.display import amount, duration
from dita.kernel import ExecutionKernel

#: So many equal rejections within the venue's window, and what is left is for exits
#: (ERRORS_OF_A_SLOT of the kernel).
ERRORS_OF_ENTRIES: Final = 7

_DRIFTS: Final = {
    "unexplained drift": DriftCause.UNEXPLAINED,
    "pending drift": DriftCause.PENDING,
}


def waits_for(
    kernel: ExecutionKernel,
    account: AccountSnapshot,
    now_ms: int,
    *,
    held_because: str = "",
    not_ready: tuple[str, ...] = (),
) -> list[str]:
    """What an entry waits for, the most lasting first; empty when entries may go."""
    found = [
        text
        for cause in kernel.freeze_causes()
        for text in _cause_words(cause, account, held_because, not_ready)
    ]
    errors = {c: n for c, n in kernel.venue_errors().items() if n >= ERRORS_OF_ENTRIES}
    if errors:
        told = ", ".join(f"code {code} {count} times" for code, count in sorted(errors.items()))
        found.append(f"the exchange refuses too much ({told}): what is left is for exits")
    return [*found, *_balance_words(kernel, now_ms)]


def _cause_words(
    cause: str, account: AccountSnapshot, held_because: str, not_ready: tuple[str, ...]
) -> list[str]:
    if cause == "hold":
        return [f"hold by {held_because}" if held_because else "hold from before this start"]
    if cause == "not ready":
        return list(not_ready) or ["not ready"]
    if cause in _DRIFTS:
        part = account.drift_by_cause.get(_DRIFTS[cause], 0)
        return [f"{cause} of {amount(part, sign=True)}" if part else cause]
    return [cause]


def _balance_words(kernel: ExecutionKernel, now_ms: int) -> list[str]:
    ledger, limit_ms = kernel.ledger(), kernel.config.balance_max_age_ms
    now_ms = max(now_ms, kernel.now_ms)
    if limit_ms:
        if not ledger.anchored:
            return ["no balance was read yet"]
        age_ms = now_ms - ledger.anchor_received_ms
        if age_ms > limit_ms:
            return [f"balance is {duration(age_ms)} old, {duration(limit_ms)} is the limit"]
    if ledger.anchored and ledger.ambiguous_count:
        return ["money has just moved: the next balance"]
    return []
