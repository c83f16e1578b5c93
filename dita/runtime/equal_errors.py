"""Equal refusals of orders, counted by the venue's number as the venue counts them (dossier §1.5).

Twenty equal ones within eight minutes block the order endpoint, and then nothing can be closed.  So
from the seventh on a symbol that had the code is tried once a minute, and at fifteen everybody
waits; the rest is for whoever comes next.  It must not know what a code means.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from dita.clock import Clock
from dita.contracts import KernelEventKind, KernelIntent, VenueEvent
from dita.identity import plain_symbol

WINDOW_MS: Final = 480_000
#: So many equal ones go at any pace.
FREE: Final = 6
#: And so many in all.
MOST: Final = 15
#: Between two tries of a symbol that had the code, once the free ones are used up: so spread that
#: one symbol alone never uses up the rest.
PAUSE_MS: Final = 60_000
_REFUSED: Final = (KernelEventKind.ORDER_REJECT, KernelEventKind.ORDER_UNKNOWN)


class EqualErrors:
    """Counts of the last eight minutes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)

    def note(self, asset: str, code: int, at_ms: int = 0) -> None:
        """An order of a symbol was answered with this number, now or at a time of ours."""
        times = self._times[code]
        times.append((at_ms or self._clock.now_ms(), plain_symbol(asset)))
        times.sort()

    def note_journalled(self, records: Iterable[KernelIntent | VenueEvent]) -> None:
        """Those that a journal tells of."""
        oldest_ms = self._clock.now_ms() - WINDOW_MS
        for record in records:
            if not isinstance(record, VenueEvent) or record.kind not in _REFUSED:
                continue
            if record.error_code and record.received_ms > oldest_ms:
                self.note(record.asset, record.error_code, record.received_ms)

    def wait_ms(self, asset: str) -> int:
        """Returns how long an order of a symbol should wait; 0: it may go."""
        now_ms, symbol = self._clock.now_ms(), plain_symbol(asset)
        longest_ms = 0
        for code, known in self._times.items():
            times = self._times[code] = [one for one in known if one[0] > now_ms - WINDOW_MS]
            own = [at_ms for at_ms, of in times if of == symbol]
            if len(times) >= MOST:
                longest_ms = max(longest_ms, times[-MOST][0] + WINDOW_MS - now_ms)
            elif len(times) >= FREE and own:
                longest_ms = max(longest_ms, own[-1] + PAUSE_MS - now_ms)
        return longest_ms
