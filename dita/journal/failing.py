"""How a journal fails, in words: full, which can be mended, or broken, which ends all.

Reader and writer raise these; what they do to trading is the caller's matter.
"""

from __future__ import annotations

from typing import Final

from dita.errors import ExitCode, JournalFault, OperatorError, SettingsError

REBUILD: Final = (
    "nothing was changed; close positions with `pink-ctl flatten --emergency --config FILE`, then"
    " `pink-ctl journal retire --config FILE --reason WHY --apply` sets this journal aside for a"
    " new one (runbooks/journal.md)"
)


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
    return JournalFault("the journal accepts no more records", found=found, action="start again")


def damaged(path: str, offset: int, seq: int, found: str) -> JournalFault:
    """What was synced is not as it was."""
    return JournalFault(
        f"the journal is damaged at record {seq}",
        expected=f"record {seq} in {path} at byte {offset}",
        found=found,
        action=REBUILD,
    )


def of_another_namespace(ours: str, found: str) -> SettingsError:
    """Somebody else's journal."""
    return SettingsError(
        "the journal belongs to another namespace",
        expected=ours,
        found=found,
        action="correct the namespace or the journal's directory",
    )
