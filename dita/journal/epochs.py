"""How an epoch begins and ends: the first record of a journal, the last one, and what goes along.

An epoch that goes on from another has the other's end in its first record, and behind it the state
in pieces.  Reader and writer call this; it knows nothing of files.
"""

from __future__ import annotations

import zlib
from typing import Final

import msgspec

from dita.account import AccountConfig
from dita.contracts import Record
from dita.engine import Engine
from dita.errors import JournalFault
from dita.journal.rules import OF_BEFORE, Rules
from dita.kernel import KernelConfig

PIECE_BYTES: Final = 3_900
_encode = msgspec.msgpack.Encoder().encode


class Close(Record, frozen=True, kw_only=True):
    """How an epoch ended: its last record, and part of the first one of the next.

    The records right before it hold the state, packed and in ``pieces``; the next epoch has them
    right behind its first record.
    """

    epoch: int
    next_epoch: int
    #: Its own number, the last one.
    seq: int
    state_hash: str
    pieces: int
    time_ms: int
    operator: str
    reason: str
    rules: Rules = Rules()

    def state_of(self, carried: bytes) -> bytes:
        """The saved state.  JournalFault when it is not the one that this epoch ended in."""
        try:
            saved = zlib.decompress(carried)
            found = Engine.restore(saved).state_hash()
        except zlib.error as bad:
            saved, found = b"", f"bytes that cannot be unpacked: {bad}"
        if found != self.state_hash:
            raise JournalFault(
                f"the state that goes along from epoch {self.epoch} is another one",
                expected=f"state hash {self.state_hash}, in which that epoch ended",
                found=found,
                action="report it with both journals; see runbooks/journal.md",
            )
        return saved


class Epoch(Record, frozen=True, kw_only=True):
    """Whose journal this is; its first record, never changed."""

    created_ms: int
    kernel: KernelConfig
    account: AccountConfig
    rules: Rules = Rules()
    #: How the epoch before this one ended; None for a beginning from nothing.
    before: Close | None = None
    #: The state that it goes on from, as ``Close`` describes it.
    carried: bytes = b""

    @property
    def namespace(self) -> str:
        """The system that it belongs to."""
        return self.kernel.namespace

    @property
    def number(self) -> int:
        """Minted once per journal; part of every client order id."""
        return self.kernel.epoch

    def engine(self) -> Engine:
        """An engine as it was before the first input.  OtherRules when it was another release's."""
        self.rules.hold(f"journal {self.number}")
        if self.before is None:
            return Engine(self.kernel, self.account)
        return Engine.carried(self.before.state_of(self.carried), self.kernel, self.account)


class Carried(Record, frozen=True):
    """A piece of the state that the next epoch goes on from."""

    data: bytes


def epoch_payload(epoch: Epoch) -> bytes:
    """The first record's payload."""
    # The configurations as JSON within: money passes 64 bits, which msgpack cannot hold.
    kernel, account = msgspec.json.encode(epoch.kernel), msgspec.json.encode(epoch.account)
    before = None if epoch.before is None else msgspec.to_builtins(epoch.before)
    rules = msgspec.to_builtins(epoch.rules)
    return _encode((epoch.created_ms, kernel, account, rules, before))


def pieces_of(state: bytes) -> list[bytes]:
    """A saved state packed, in pieces that records can hold."""
    return split(zlib.compress(state, 6))


def split(packed: bytes) -> list[bytes]:
    """The same pieces, from what was put together."""
    return [packed[at : at + PIECE_BYTES] for at in range(0, len(packed), PIECE_BYTES)]


def close_payload(close: Close) -> bytes:
    """The last record's payload."""
    return _encode(msgspec.to_builtins(close))


def close_of(payload: bytes) -> Close:
    """And back."""
    return msgspec.msgpack.decode(payload, type=Close)


def epoch_of(payload: bytes) -> Epoch:
    """And back.  OtherRules when a newer release wrote it so that it cannot be read here."""
    created_ms, kernel, account, *more = msgspec.msgpack.decode(payload)
    rules = msgspec.convert(more[0], type=Rules) if more else OF_BEFORE
    before = msgspec.convert(more[1], type=Close | None) if len(more) > 1 else None
    try:
        return Epoch(
            created_ms=msgspec.convert(created_ms, type=int),
            kernel=msgspec.json.decode(kernel, type=KernelConfig),
            account=msgspec.json.decode(account, type=AccountConfig),
            rules=rules,
            before=before,
        )
    except msgspec.MsgspecError:
        rules.hold(f"journal {created_ms}")
        raise
