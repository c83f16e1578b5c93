"""The engine: input → kernel → account → outcome, and nothing else.

serve, replay, golden, chaos and recovery all call this, so they cannot drift apart.  It is pure: no
I/O, no clock, no randomness, no environment, no await; the same inputs give the same bytes.  What
an embedder owes it is in docs/embedding.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

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
from dita.kernel import ExecutionKernel, KernelConfig, PackedInput

if TYPE_CHECKING:
    from typing_extensions import Buffer

SAVE_VERSION: Final = 2
#: Raised whenever the same inputs can lead to another state than before: a journal is replayed only
#: by the rules that wrote it.  A test tells when that is due.
RULES_VERSION: Final = 1


class SizerFeedback(Record, frozen=True, kw_only=True):
    """What the sizer learns of a trade, once: its own booked money, never a capital difference."""

    trade_id: str
    pnl: int


class Outcome(Record, frozen=True):
    """The answer to one input: what the kernel did, the account after it, what to do next."""

    kernel: KernelOutcome
    account: AccountSnapshot

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What to do next, once the input is durable; the account's judgement included."""
        return self.kernel.effects

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


class EngineKernel(ExecutionKernel):
    """The kernel of an engine: everything in it can be looked at, and only the engine drives it.

    An input that went past the engine would be missing from its account and its snapshot.
    """

    def apply(self, record: object, packed: object = None) -> NoReturn:
        """Refused with OperatorError."""
        raise _past_the_engine("apply")

    def apply_batch(self, inputs: Buffer, outcomes: Buffer, stop_at_account: bool = False) -> int:
        """Refused with OperatorError."""
        raise _past_the_engine("apply_batch")

    def judge(self, pending: bool, unexplained: bool) -> bool:
        """Refused with OperatorError."""
        raise _past_the_engine("judge")


def _past_the_engine(method: str) -> OperatorError:
    return OperatorError(
        f"kernel.{method} refused: the kernel belongs to an engine",
        expected="Engine.apply or Engine.apply_batch, which keep its account up to date",
        found=f"a call of engine.kernel.{method}",
        action="send the input through the engine, or make an ExecutionKernel without one",
    )


_apply: Final = ExecutionKernel.apply


class Engine:
    """One kernel and one account behind ``apply``.

    It belongs to one thread at a time.  A second one that comes while a call is under way is
    refused with OperatorError and has changed nothing.  ``KernelConfig.for_trading`` and
    ``AccountConfig.for_bingx`` are the settings to trade with; without any it takes every entry,
    balance or not, which is for tests.
    """

    _in_use = False

    def __init__(
        self, kernel: KernelConfig | None = None, account: AccountConfig | None = None
    ) -> None:
        self.kernel: ExecutionKernel = EngineKernel(kernel)
        self.account = AccountProjection(account)
        self.snapshot = self._snapshot()

    def apply(
        self, record: KernelIntent | VenueEvent, packed: PackedInput | None = None
    ) -> Outcome:
        """Apply one input.  A refused input changes nothing, and the snapshot stays the same.

        ``packed`` is the input as the journal has it: packed by this kernel just before, or read
        back from there, where an own order that a client id stood for may have left the registry's
        names since.
        """
        # As ``_alone`` does it; written out because this is the way of every input.
        if self._in_use:
            raise _second_thread()
        self._in_use = True
        try:
            done = _apply(self.kernel, record, packed)
            if done.accepted:
                if done.transition is None:  # of no slot: perhaps of the account
                    done = self._judged(record, done)
                self.snapshot = self.kernel.account_snapshot(self.account.known)
            return Outcome(done, self.snapshot)
        finally:
            self._in_use = False

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While one call is under way no other thread gets in between."""
        if self._in_use:
            raise _second_thread()
        self._in_use = True
        try:
            yield
        finally:
            self._in_use = False

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
        with self._alone():
            while done < total:
                done += ExecutionKernel.apply_batch(
                    self.kernel, source[done * size :], target[done * out_size :], True
                )
                last = target[(done - 1) * out_size : done * out_size]
                self._judge_packed(bytes(source[(done - 1) * size : done * size]), bytes(last))
            self.snapshot = self._snapshot()
        return done, outcomes

    # -- account -----------------------------------------------------------------------------------

    def _judged(self, record: KernelIntent | VenueEvent, done: KernelOutcome) -> KernelOutcome:
        effects = self._judge(record)
        if not effects:
            return done
        return msgspec.structs.replace(done, effects=done.effects + effects)

    def _judge(self, record: KernelIntent | VenueEvent) -> tuple[Effect, ...]:
        # Compared by value: a plain int is taken for a member, as it is in a packed input.
        if isinstance(record, VenueEvent):
            if record.kind == KernelEventKind.ACCOUNT_UPDATE:
                return self._judge_anchor()
        elif record.action == ControlAction.REBASE:
            self._rebased()
        return ()

    def _rebased(self) -> None:
        self.account.rebase()
        ExecutionKernel.judge(self.kernel, False, False)

    def _judge_packed(self, packed: bytes, outcome: bytes) -> None:
        kind, accepted, rebases = self.kernel.peek(packed, outcome)
        if not accepted:
            return
        if kind == KernelEventKind.ACCOUNT_UPDATE:
            self._judge_anchor()
        elif kind == KernelCommandType.CONTROL and rebases:
            self._rebased()

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
        changed = ExecutionKernel.judge(
            self.kernel, judgement.pending_blocks, judgement.unexplained_freezes
        )
        return self.kernel.effects() if changed else ()

    def _snapshot(self) -> AccountSnapshot:
        return self.kernel.account_snapshot(self.account.known)

    # -- the whole state ---------------------------------------------------------------------------

    def save(self) -> bytes:
        """Everything; equal states give equal bytes."""
        return self.save_and_hash()[0]

    def save_and_hash(self) -> tuple[bytes, str]:
        """Everything, and its ``state_hash``, at the price of one."""
        with self._alone():
            kernel, account = self.kernel.save(), self.account.save()
        digest = _digest(kernel, account)
        state = msgspec.msgpack.encode(_Saved(SAVE_VERSION, kernel, account, digest))
        return state, digest.hex()

    def copy_from(self, other: Engine) -> None:
        """Be in the same state as another engine; quick, so that the copy can be saved elsewhere.

        OperatorError for one with other settings.
        """
        with self._alone(), other._alone():
            self.kernel.copy_from(other.kernel)
            self.account = AccountProjection.restore(other.account.save())
            self.snapshot = other.snapshot

    @classmethod
    def carried(cls, saved: bytes, kernel: KernelConfig, account: AccountConfig) -> Engine:
        """An engine that goes on from a flat one's saved state under other settings.

        Money, drift and its causes, records, orders and ids are as they were.  OperatorError for
        bytes that are none, for a slot that is in use, and for fewer slots than before.
        """
        state = _whole(saved)
        engine = cls.__new__(cls)
        engine.kernel = EngineKernel.carried(state.kernel, kernel)
        engine.account = AccountProjection.restore(state.account).under(account)
        engine.snapshot = engine._snapshot()
        return engine

    @classmethod
    def restore(cls, saved: bytes) -> Engine:
        """An engine in the saved state.  OperatorError when the bytes are not one."""
        state = _whole(saved)
        engine = cls.__new__(cls)
        try:
            engine.kernel = EngineKernel.restore(state.kernel)
            engine.account = AccountProjection.restore(state.account)
        except msgspec.DecodeError as bad:
            raise OperatorError(
                "saved state refused", expected="bytes from Engine.save", found=str(bad)
            ) from bad
        engine.snapshot = engine._snapshot()
        return engine

    def state_hash(self) -> str:
        """SHA-256 over the canonical encoding of everything (design P7)."""
        with self._alone():
            return _digest(self.kernel.save(), self.account.save()).hex()

    def economic_hash(self) -> str:
        """SHA-256 over slots, orders and money levels (design P4)."""
        with self._alone():
            return self.kernel.economic_hash()


def _whole(saved: bytes) -> _Saved:
    try:
        state = msgspec.msgpack.decode(saved, type=_Saved)
    except msgspec.DecodeError as bad:
        raise OperatorError(
            "saved state refused", expected="bytes from Engine.save", found=str(bad)
        ) from bad
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
    return state


def _second_thread() -> OperatorError:
    return OperatorError(
        "engine refused a second caller",
        expected="one call at a time",
        found="a call while another thread's is under way",
        action="give the engine one thread, and the others a queue or a lock before it",
    )


def _digest(kernel: bytes, account: bytes) -> bytes:
    # The kernel's part tells its own length, so the two cannot be shifted against one another.
    return hashlib.sha256(kernel + account).digest()
