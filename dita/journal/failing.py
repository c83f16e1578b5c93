"""How writing a journal fails, in words: full, which can be mended, or broken, which ends all.

The writer raises these; what they do to trading is the caller's matter.
"""

from __future__ import annotations

from dita.errors import ExitCode, JournalFault, OperatorError


class JournalFull(OperatorError):
    """The disk takes no more.  Nothing is lost: what was appended waits in memory, in its order.

    Stop new risk, make room or call ``Journal.free_reserve``, then commit again.
    """

    exit_code = ExitCode.JOURNAL


def disk_full(directory: str, segment_bytes: int, found: str) -> JournalFull:
    """The disk takes no more records."""
    return JournalFull(
        "the journal's disk is full",
        expected=f"room for a segment of {segment_bytes} bytes in {directory}",
        found=found,
        action="stop entries, make room or free the reserve, commit again",
    )


def cannot_be_written(directory: str, last_seq: int, found: str) -> JournalFault:
    """Something failed that is never tried again."""
    return JournalFault(
        "the journal cannot be written",
        expected=f"records up to {last_seq} to become durable in {directory}",
        found=found,
        action="nothing was tried again; stop, check the disk, start again and it is re-read",
    )


def takes_nothing(found: str) -> JournalFault:
    """Something had failed before."""
    return JournalFault("the journal takes nothing any more", found=found, action="start again")
