"""The account: what is published as capital, and why the exchange and our checksum differ.

The exchange's wallet (E) is the ledger of record; K, our own sums in the kernel, is its checksum
and never publishes capital.  The projection judges the drift E − K at every anchor: each part of it
gets a cause with a bound, the rest is pending for a while and then unexplained, which freezes
entries.  It reads figures and nothing else: no slots, no venues, no time but that of the inputs.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from dita.contracts import (
    BalanceReason,
    DriftCause,
    ReconcileStatus,
)
from dita.units import MONEY_ONE

#: A difference without a cause is pending until income has been read so far past its anchor.
PENDING_MS: Final = 120_000
#: Parts of different age that are kept apart; the oldest are joined beyond it.
PENDING_PARTS_MAX: Final = 64
#: Quiet anchors in a row, each without too much unexplained, that thaw a freeze.
THAW_ANCHORS: Final = 2


class LedgerFigures(Protocol):
    """What a judgement reads of the kernel's ledger."""

    @property
    def k_capital(self) -> int: ...
    @property
    def funding(self) -> int: ...
    @property
    def transfers(self) -> int: ...
    @property
    def wallet(self) -> int: ...
    @property
    def bridged(self) -> int: ...
    @property
    def ambiguous(self) -> int: ...
    @property
    def fees_estimated(self) -> int: ...
    @property
    def anchor_ms(self) -> int: ...
    @property
    def anchor_quiet(self) -> bool: ...
    @property
    def anchor_reason(self) -> int: ...
    @property
    def flow_total(self) -> int: ...
    @property
    def foreign(self) -> int: ...
    @property
    def income_from_ms(self) -> int: ...
    @property
    def income_read_ms(self) -> int: ...


class AccountConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the drift, money in 10^-18."""

    warn: int = MONEY_ONE // 100
    error: int = 20 * MONEY_ONE
    wallet_digit: int = MONEY_ONE // 10**8


class _Open(msgspec.Struct):
    """What the projection remembers between anchors; saved with the state."""

    drift: int = 0
    by_cause: dict[DriftCause, int] = msgspec.field(default_factory=dict)
    #: The part of the drift without a cause, by the time since which it has been there.
    pending: list[tuple[int, int]] = msgspec.field(default_factory=list)
    good_anchors: int = 0
    frozen: bool = False
    funding_expected: int = 0
    funding_seen: int = 0
    transfer_expected: int = 0
    transfers_seen: int = 0


class Judgement(msgspec.Struct, frozen=True):
    """What the drift means for new risk."""

    pending_blocks: bool
    unexplained_freezes: bool


class AccountProjection:
    """Judges the drift, and knows what every snapshot says of it."""

    def __init__(self, config: AccountConfig | None = None) -> None:
        self.config = config or AccountConfig()
        self._open = _Open()
        #: The last three figures of a snapshot: drift, its causes, its level.
        self.known = self._figures()

    # -- the drift ---------------------------------------------------------------------------------

    def judge(self, k: LedgerFigures, unsettled_notional: int) -> Judgement:
        """Split the drift at a new anchor by cause, and say what it means for entries."""
        state = self._open
        drift = k.wallet - (k.k_capital - k.bridged)
        causes, rest = self._explain(k, drift, unsettled_notional)
        state.pending = _aged(state.pending, rest, k.anchor_ms)
        # Its cause may be a row that has not been read yet; without a reader only time can tell.
        read = k.income_read_ms > k.income_from_ms
        told_ms = k.income_read_ms if read else k.anchor_ms
        late = sum(part for since, part in state.pending if told_ms - since >= PENDING_MS)
        for cause, part in ((DriftCause.UNEXPLAINED, late), (DriftCause.PENDING, rest - late)):
            if part:
                causes[cause] = part
        state.drift = drift
        state.by_cause = causes
        self._freeze(
            abs(causes.get(DriftCause.UNEXPLAINED, 0)) >= self.config.error, k.anchor_quiet
        )
        self.known = self._figures()
        pending = abs(causes.get(DriftCause.PENDING, 0)) > self.config.error
        return Judgement(pending, state.frozen)

    def _figures(self) -> tuple[int, dict[DriftCause, int], ReconcileStatus]:
        return self._open.drift, self._open.by_cause, self._level()

    def _level(self) -> ReconcileStatus:
        if self._open.frozen:
            return ReconcileStatus.ERROR
        if abs(self._open.drift) >= self.config.warn:
            return ReconcileStatus.WARN
        return ReconcileStatus.OK

    def _freeze(self, too_much: bool, quiet: bool) -> None:
        state = self._open
        if too_much:
            state.frozen, state.good_anchors = True, 0
        elif state.frozen and quiet:
            state.good_anchors += 1
            if state.good_anchors >= THAW_ANCHORS:
                state.frozen, state.good_anchors = False, 0

    def _explain(
        self, k: LedgerFigures, drift: int, unsettled_notional: int
    ) -> tuple[dict[DriftCause, int], int]:
        """Give each cause at most what its evidence allows; return the causes and what is left."""
        self._expect(k, drift)
        state = self._open
        causes: dict[DriftCause, int] = {}
        rest = drift
        for cause, low, high in (
            (DriftCause.SETTLING, min(0, -k.ambiguous), max(0, -k.ambiguous)),
            _exactly(DriftCause.FUNDING_UNREAD, state.funding_expected),
            _exactly(DriftCause.TRANSFER_UNREAD, state.transfer_expected),
            _exactly(DriftCause.FOREIGN_ACTIVITY, k.foreign),
            _within(DriftCause.PENDING_FEE, abs(k.fees_estimated)),
            _within(DriftCause.UNSETTLED_FILL, unsettled_notional),
            _within(DriftCause.ROUNDING, k.flow_total * self.config.wallet_digit // 2),
        ):
            part = max(low, min(high, rest))
            if part:
                causes[cause] = part
                rest -= part
        return causes, rest

    def _expect(self, k: LedgerFigures, drift: int) -> None:
        # A frame that the venue sent for funding or a transfer is the evidence of a flow whose row
        # is still to come; when the row is read K moves and the expectation ends.
        state = self._open
        state.funding_expected = _towards_zero(
            state.funding_expected, k.funding - state.funding_seen
        )
        state.transfer_expected = _towards_zero(
            state.transfer_expected, k.transfers - state.transfers_seen
        )
        state.funding_seen, state.transfers_seen = k.funding, k.transfers
        if k.anchor_reason == BalanceReason.FUNDING:
            state.funding_expected += drift - state.drift
        elif k.anchor_reason == BalanceReason.TRANSFER:
            state.transfer_expected += drift - state.drift

    def rebase(self) -> dict[DriftCause, int]:
        """`anchor --reason`: the drift is booked away; start afresh and say what was removed."""
        removed = self._open.by_cause
        self._open = _Open(
            funding_seen=self._open.funding_seen,
            transfers_seen=self._open.transfers_seen,
        )
        self.known = self._figures()
        return removed

    @property
    def drift(self) -> int:
        """E − K at the newest anchor."""
        return self._open.drift

    # -- the state ---------------------------------------------------------------------------------

    def save(self) -> bytes:
        """Config and memory; equal states give equal bytes."""
        return msgspec.json.encode((self.config, self._open), order="sorted")

    @classmethod
    def restore(cls, saved: bytes) -> AccountProjection:
        """A projection in the saved state; msgspec.DecodeError when the bytes are not one."""
        config, memory = msgspec.json.decode(saved, type=tuple[AccountConfig, _Open])
        projection = cls(config)
        projection._open = memory
        projection.known = projection._figures()
        return projection


def _exactly(cause: DriftCause, amount: int) -> tuple[DriftCause, int, int]:
    return cause, min(0, amount), max(0, amount)


def _within(cause: DriftCause, bound: int) -> tuple[DriftCause, int, int]:
    return cause, -bound, bound


def _towards_zero(expected: int, read: int) -> int:
    """What is still expected after a row was read; a row of another sign or more ends it."""
    left = expected - read
    return left if abs(left) <= abs(expected) and left * expected > 0 else 0


def _aged(pending: list[tuple[int, int]], rest: int, now_ms: int) -> list[tuple[int, int]]:
    """The unexplained rest split by age: growth is new, what shrinks goes from the newest first."""
    parts = list(pending)
    news = rest - sum(part for _, part in parts)
    while parts and news * parts[-1][1] < 0:
        since, part = parts.pop()
        left = part + news
        if left * part > 0:
            return [*parts, (since, left)]
        news = left
    if news:
        parts.append((now_ms, news))
    if len(parts) > PENDING_PARTS_MAX:
        (oldest, first), (_, second), *others = parts
        parts = [(oldest, first + second), *others]
    return parts
