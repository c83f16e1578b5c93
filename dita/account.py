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
from dita.frozen import FrozenDict
from dita.units import MONEY_ONE

#: A difference without a cause is pending until income has been read so far past its anchor.
PENDING_MS: Final = 120_000
#: An announced flow explains nothing once income has been read so far past its frame.
EXPECTED_MS: Final = 120_000
#: Rounding never explains more than this, however many flows there were.
ROUNDING_MAX: Final = MONEY_ONE
#: Parts of different age that are kept apart; the oldest are joined beyond it.
PENDING_PARTS_MAX: Final = 64
#: Frames that announced a flow and whose row has not come; the oldest are forgotten beyond it.
EXPECTED_MAX: Final = 64
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
    def told_ms(self) -> int: ...
    @property
    def foreign_funding(self) -> int: ...
    @property
    def foreign_transfers(self) -> int: ...


class AccountConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the drift, money in 10^-18.

    ``wallet_digit`` is twice how far a figure of the venue's can be from its books: the unit of the
    last digit that it answers with.  The default is exact to eight decimals, which BingX is not:
    take ``for_bingx`` there, or honest rounding becomes unexplained money in time.
    """

    warn: int = MONEY_ONE // 100
    error: int = 20 * MONEY_ONE
    wallet_digit: int = MONEY_ONE // 10**8

    @classmethod
    def for_bingx(
        cls, *, warn: int = MONEY_ONE // 100, error: int = 20 * MONEY_ONE
    ) -> AccountConfig:
        """Limits for BingX, whose wallets and fees have four decimals and its books eight
        (dossier §2.4): with each flow both may be off by half a digit."""
        return cls(warn=warn, error=error, wallet_digit=2 * MONEY_ONE // 10**4)


class _Open(msgspec.Struct):
    """What the projection remembers between anchors; saved with the state."""

    drift: int = 0
    by_cause: dict[DriftCause, int] = msgspec.field(default_factory=dict)
    #: The part of the drift without a cause, by the time since which it has been there.
    pending: list[tuple[int, int]] = msgspec.field(default_factory=list)
    good_anchors: int = 0
    frozen: bool = False
    #: Flows that frames of the venue have announced, by the time of the frame, oldest first.
    funding_expected: list[tuple[int, int]] = msgspec.field(default_factory=list)
    funding_seen: int = 0
    transfer_expected: list[tuple[int, int]] = msgspec.field(default_factory=list)
    transfers_seen: int = 0


class Bounds(msgspec.Struct, frozen=True):
    """How much what is still to come can explain: of fills whose rows may not have been read."""

    fees: int = 0
    unsettled: int = 0


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

    def judge(self, k: LedgerFigures, bounds: Bounds) -> Judgement:
        """Split the drift at a new anchor by cause, and say what it means for entries."""
        state = self._open
        drift = k.wallet - (k.k_capital - k.bridged)
        causes, rest = self._explain(k, drift, bounds)
        state.pending = _aged(state.pending, rest, k.anchor_ms)
        # Its cause may be a row that has not been read yet; without a reader only time can tell.
        late = sum(part for since, part in state.pending if k.told_ms - since >= PENDING_MS)
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

    def _figures(self) -> tuple[int, FrozenDict[DriftCause, int], ReconcileStatus]:
        # Snapshots are given away: they never hold the dict that is part of the state.
        return self._open.drift, FrozenDict(self._open.by_cause), self._level()

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
        self, k: LedgerFigures, drift: int, bounds: Bounds
    ) -> tuple[dict[DriftCause, int], int]:
        """Give each cause at most what its evidence allows; return the causes and what is left."""
        self._expect(k, drift)
        state = self._open
        causes: dict[DriftCause, int] = {}
        rest = drift
        for cause, low, high in (
            (DriftCause.SETTLING, min(0, -k.ambiguous), max(0, -k.ambiguous)),
            _exactly(DriftCause.FUNDING_UNREAD, _sum(state.funding_expected)),
            _exactly(DriftCause.TRANSFER_UNREAD, _sum(state.transfer_expected)),
            _exactly(DriftCause.FOREIGN_ACTIVITY, k.foreign),
            _within(DriftCause.PENDING_FEE, abs(bounds.fees)),
            _within(DriftCause.UNSETTLED_FILL, bounds.unsettled),
            _within(
                DriftCause.ROUNDING,
                min(k.flow_total * self.config.wallet_digit // 2, ROUNDING_MAX),
            ),
        ):
            part = max(low, min(high, rest))
            if part:
                causes[cause] = part
                rest -= part
        return causes, rest

    def _expect(self, k: LedgerFigures, drift: int) -> None:
        # A frame that the venue sent for funding or a transfer is the evidence of a flow whose row
        # is still to come.  The row ends it, whoever's it is; so does a history that lacks the row.
        state = self._open
        funding, transfers = k.funding + k.foreign_funding, k.transfers + k.foreign_transfers
        since_ms = k.told_ms - EXPECTED_MS
        state.funding_expected = _still_expected(
            state.funding_expected, funding - state.funding_seen, since_ms
        )
        state.transfer_expected = _still_expected(
            state.transfer_expected, transfers - state.transfers_seen, since_ms
        )
        state.funding_seen, state.transfers_seen = funding, transfers
        told = (k.anchor_ms, drift - state.drift)
        if k.anchor_reason == BalanceReason.FUNDING:
            state.funding_expected = [*state.funding_expected, told][-EXPECTED_MAX:]
        elif k.anchor_reason == BalanceReason.TRANSFER:
            state.transfer_expected = [*state.transfer_expected, told][-EXPECTED_MAX:]

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

    def under(self, config: AccountConfig) -> AccountProjection:
        """The same memory under other settings."""
        projection = AccountProjection(config)
        projection._open = self._open
        projection.known = projection._figures()
        return projection

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


def _sum(parts: list[tuple[int, int]]) -> int:
    return sum(amount for _, amount in parts)


def _still_expected(
    parts: list[tuple[int, int]], read: int, since_ms: int
) -> list[tuple[int, int]]:
    """What is still to come after rows of this sum were read, of frames after ``since_ms``.

    A row takes from the oldest frame of its sign first; what no frame announced takes nothing.
    """
    left: list[tuple[int, int]] = []
    for told_ms, amount in parts:
        taken = min(read, amount, key=abs) if read * amount > 0 else 0
        read -= taken
        if amount != taken and told_ms > since_ms:
            left.append((told_ms, amount - taken))
    return left


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
