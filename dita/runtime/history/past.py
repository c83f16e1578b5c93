"""The whole past of a state directory: the open epoch's index, and those of the closed ones.

Trades are numbered through, so a roll is no border for whoever asks about one.  Each epoch is asked
in turn; what an index is, and that it may be deleted, stays its own matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dita.runtime.eventlog.event import Event
from dita.runtime.history.index import Index
from dita.runtime.history.trades import TradeRow
from dita.runtime.state.rolling import closed_epochs, hold_to_no_roll


class Past:
    """Indexes of all epochs that are here, oldest first; the last one is the open epoch's."""

    def __init__(self, indexes: list[Index]) -> None:
        self.indexes = indexes

    @classmethod
    def open(cls, directory: Path) -> Past:
        """Brought up to date.  OperatorError without a journal, or in the middle of a roll."""
        hold_to_no_roll(directory)
        newest = Index.open(directory)  # first: without it there is nothing to ask
        return cls([*(Index.open(folder) for folder in closed_epochs(directory)), newest])

    @property
    def newest(self) -> Index:
        """The open epoch's."""
        return self.indexes[-1]

    @property
    def begins_behind(self) -> int:
        """What came up to this record of the oldest epoch here is not in it; 0: everything is."""
        return self.indexes[0].begins_behind

    def trades(self, **asked: Any) -> list[TradeRow]:
        """As ``Index.trades``; of a trade that came back after a roll the newest row."""
        found: dict[int, TradeRow] = {}
        for index in self.indexes:
            found |= {row.trade_no: row for row in index.trades(**asked)}
        return [found[number] for number in sorted(found)]

    def loose_funding(self, since_ms: int = 0, until_ms: int = 0) -> int:
        """As ``Index.loose_funding``."""
        return sum(index.loose_funding(since_ms, until_ms) for index in self.indexes)

    def events(self, **asked: Any) -> Iterator[Event]:
        """As ``Index.events``."""
        for index in self.indexes:
            yield from index.events(**asked)

    def close(self) -> None:
        """Let go of the files."""
        for index in self.indexes:
            index.close()
