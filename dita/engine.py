"""The engine: input → kernel → account → outcome, and nothing else.

serve, replay, golden, chaos and recovery all call this, so they cannot drift apart.  It is pure: no
I/O, no clock, no randomness, no environment, no await; the same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from dita.account import AccountConfig, AccountProjection, Bounds
from dita.contracts import (
    AccountSnapshot,
    ControlAction,
    Effect,
    EffectKind,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    KernelOutcome,
    Record,
    VenueEvent,
)
from dita.errors import OperatorError
from dita.kernel import ExecutionKernel, KernelConfig

SAVE_VERSION: Final = 2


class SizerFeedback(Record, frozen=True, kw_only=True):
    """What the sizer learns of a trade, once: its own booked money, never a capital difference."""

    trade_id: str
    pnl: int


class Outcome(Record, frozen=True):
    """The answer to one input: what the kernel did, the account after it, what to do next."""

    kernel: KernelOutcome
    account: AccountSnapshot
    effects: tuple[Effect, ...]

    @property
    def feedback(self) -> tuple[SizerFeedback, ...]:
        """Sizer feedback that became due with this input (accounting fix §5.1)."""
        return tuple(
            SizerFeedback(trade_id=e.trade_id, pnl=e.realized - e.fees)
            for e in self.effects
            if e.kind is EffectKind.FEED_SIZER
        )


class _Saved(msgspec.Struct, frozen=True):
    version: int
    kernel: bytes
    account: bytes
    digest: bytes


class Engine:
    """One kernel and one account behind ``apply``."""

    def __init__(
        self, kernel: KernelConfig | None = None, account: AccountConfig | None = None
    ) -> None:
        self.kernel = ExecutionKernel(kernel)
        self.account = AccountProjection(account)
        self.snapshot = self._snapshot()

    def apply(self, record: KernelIntent | VenueEvent, packed: bytes = b"") -> Outcome:
        """Apply one input.  A refused input changes nothing, and the snapshot stays the same.

        ``packed`` is the input as the journal has it, where that is where it comes from: an own
        order that a client id stood for then may have left the registry's names.
        """
        done = self.kernel.apply(record, self.kernel.unpacked(packed) if packed else None)
        effects = done.effects
        if done.accepted:
            if done.transition is None:  # of no slot: perhaps of the account
                effects += self._judge(record)
            self.snapshot = self.kernel.account_snapshot(self.account.known)
        return Outcome(done, self.snapshot, effects)

    def apply_batch(self, inputs: bytes | bytearray) -> tuple[int, bytearray]:
        """Apply packed inputs at batch speed; how many, and their packed outcomes.

        The account judges every balance frame before the next input, as ``apply`` does.  The names
        behind the keys are learnt apart (``kernel.learn``), then ``kernel.index_clients``.
        """
        size, out_size = self.kernel.record_sizes()
        outcomes = bytearray(len(inputs) // size * out_size)
        source, target = memoryview(inputs), memoryview(outcomes)
        total = len(inputs) // size
        done = 0
        while done < total:
            step = self.kernel.apply_batch(source[done * size :], target[done * out_size :], True)
            done += step
            last = target[(done - 1) * out_size : done * out_size]
            self._judge_packed(bytes(source[(done - 1) * size : done * size]), bytes(last))
        self.snapshot = self._snapshot()
        return done, outcomes

    # -- account -----------------------------------------------------------------------------------

    def _judge(self, record: KernelIntent | VenueEvent) -> tuple[Effect, ...]:
        if isinstance(record, VenueEvent):
            if record.kind is KernelEventKind.ACCOUNT_UPDATE:
                return self._judge_anchor()
        elif record.action is ControlAction.REBASE:
            self.account.rebase()
            self.kernel.judge(False, False)
        return ()

    def _judge_packed(self, packed: bytes, outcome: bytes) -> None:
        kind, accepted, rebases = self.kernel.peek(packed, outcome)
        if not accepted:
            return
        if kind == KernelEventKind.ACCOUNT_UPDATE:
            self._judge_anchor()
        elif kind == KernelCommandType.CONTROL and rebases:
            self.account.rebase()
            self.kernel.judge(False, False)

    def _judge_anchor(self) -> tuple[Effect, ...]:
        ledger = self.kernel.ledger()
        if not ledger.anchored:
            return ()
        told_ms = ledger.told_ms
        bounds = Bounds(
            fees=self.kernel.estimated_fees(told_ms) if ledger.fees_estimated else 0,
            unsettled=self.kernel.unsettled_bound(told_ms) if ledger.unsettled else 0,
        )
        judgement = self.account.judge(ledger, bounds)
        changed = self.kernel.judge(judgement.pending_blocks, judgement.unexplained_freezes)
        return self.kernel.effects() if changed else ()

    def _snapshot(self) -> AccountSnapshot:
        return self.kernel.account_snapshot(self.account.known)

    # -- the whole state ---------------------------------------------------------------------------

    def save(self) -> bytes:
        """Everything; equal states give equal bytes."""
        kernel, account = self.kernel.save(), self.account.save()
        return msgspec.msgpack.encode(
            _Saved(SAVE_VERSION, kernel, account, _digest(kernel, account))
        )

    @classmethod
    def restore(cls, saved: bytes) -> Engine:
        """An engine in the saved state.  OperatorError when the bytes are not one."""
        try:
            state = msgspec.msgpack.decode(saved, type=_Saved)
            if state.version != SAVE_VERSION:
                raise OperatorError(
                    "saved state refused",
                    expected=f"version {SAVE_VERSION}",
                    found=f"version {state.version}",
                    action="use the release that wrote it",
                )
            if state.digest != _digest(state.kernel, state.account):
                raise OperatorError(
                    "saved state refused",
                    expected="bytes that match their SHA-256",
                    found="damaged bytes",
                    action="use the older snapshot, or replay the journal from its start",
                )
            engine = cls.__new__(cls)
            engine.kernel = ExecutionKernel.restore(state.kernel)
            engine.account = AccountProjection.restore(state.account)
        except msgspec.DecodeError as bad:
            raise OperatorError(
                "saved state refused", expected="bytes from Engine.save", found=str(bad)
            ) from bad
        engine.snapshot = engine._snapshot()
        return engine

    def state_hash(self) -> str:
        """SHA-256 over the canonical encoding of everything (design P7)."""
        return _digest(self.kernel.save(), self.account.save()).hex()

    def economic_hash(self) -> str:
        """SHA-256 over slots, orders and money levels (design P4)."""
        return self.kernel.economic_hash()


def _digest(kernel: bytes, account: bytes) -> bytes:
    # The kernel's part tells its own length, so the two cannot be shifted against one another.
    return hashlib.sha256(kernel + account).digest()
