"""What was found in a journal, for whoever opened it and for an operator."""

from __future__ import annotations

from dita.contracts import Record


class Report(Record, frozen=True, kw_only=True):
    """What was found in a journal, and what was cut off its end."""

    epoch: int
    segments: int
    first_seq: int
    last_seq: int
    created: bool = False
    #: Up to here records are known to have been synced; 0 when nothing says so.
    synced: int = 0
    #: A record behind those was not whole and was cut: its bytes and number.
    torn_bytes: int = 0
    torn_segment: str = ""
    first_lost_seq: int = 0
    #: Half-made files of a process that died, removed.
    leftovers: tuple[str, ...] = ()

    @property
    def records(self) -> int:
        """Records that are there."""
        return self.last_seq - self.first_seq + 1

    def __str__(self) -> str:
        """One line for an operator."""
        text = f"{self.records} records in {self.segments} segments up to {self.last_seq}"
        if self.created:
            text += ", new"
        if self.torn_bytes:
            text += (
                f"; torn tail of {self.torn_bytes} bytes in {self.torn_segment}, cut from record"
                f" {self.first_lost_seq} on (synced for certain: up to {self.synced})"
            )
        if self.leftovers:
            text += f"; leftovers: {', '.join(self.leftovers)}"
        return text
