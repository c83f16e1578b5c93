"""Listen keys: what names a user's stream, for how long, and what happens when it lapses.

Sixty minutes from the last extension (dossier §2.6). Keys come from a seed, so that a session can
be replayed. Knows no socket: whoever pushes asks which keys live.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

LISTEN_KEY_MS: Final = 3_600_000


class ListenKeys:
    """The account's keys with the time when each lapses."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._minted = 0
        self._lapse_ms: dict[str, int] = {}

    def mint(self, now_ms: int) -> str:
        """A new key of 64 hex digits. Each call makes another one; whether the exchange would
        give the living one again is not established (dossier §7)."""
        self._minted += 1
        key = sha256(f"listen key {self._seed} {self._minted}".encode()).hexdigest()
        self._lapse_ms[key] = now_ms + LISTEN_KEY_MS
        return key

    def alive(self, key: str, now_ms: int) -> bool:
        """Whether events are pushed under the key."""
        return now_ms < self._lapse_ms.get(key, 0)

    def extend(self, key: str, now_ms: int) -> bool:
        """Sixty minutes from now; False for an unknown or lapsed key."""
        if not self.alive(key, now_ms):
            return False
        self._lapse_ms[key] = now_ms + LISTEN_KEY_MS
        return True

    def remove(self, key: str, now_ms: int) -> bool:
        """Forget a key; False for an unknown or lapsed one."""
        known = self.alive(key, now_ms)
        self._lapse_ms.pop(key, None)
        return known

    def lapsed(self, now_ms: int) -> list[str]:
        """The keys that have lapsed since this was last asked; each is given once."""
        over = [key for key, lapse_ms in self._lapse_ms.items() if lapse_ms <= now_ms]
        for key in over:
            del self._lapse_ms[key]
        return over

    def kill_all(self, now_ms: int) -> None:
        """Let every key lapse now, as a fault does."""
        for key in self._lapse_ms:
            self._lapse_ms[key] = now_ms
