"""Every error this system raises on purpose, and the exit codes they end in.

    DitaError
    +-- VenueError                  they: the exchange is unreachable, refused, or unreadable
    +-- OperatorError               you: fixed by typing or configuring something else
    |   +-- UsageError              the command line cannot be read
    |   +-- UnitError               a number does not fit its unit (also a ValueError)
    |   +-- SettingsError           the configuration is wrong
    |   +-- RefusedForSafety        it would be dangerous, so it was not done
    |   +-- NotRunning              there is no serve to talk to
    |   +-- Unanswered              there is one, and it did not answer (also a TimeoutError)
    |   +-- AlreadyRunning          there is one already
    +-- Unforeseen                  a case that nobody mapped; serve starts again into HOLD
    +-- KernelFault                 we: an invariant is broken; stop and report
        +-- JournalFault            the journal cannot be written or trusted

The family says who can mend it. Every module raises these, adapters map foreign errors to
them once (`raise ... from exc`), and the commands turn them into one line and an exit code.
This module knows nothing of the rest and imports nothing of it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

__all__ = [
    "AlreadyRunning",
    "DitaError",
    "ExitCode",
    "JournalFault",
    "KernelFault",
    "NotRunning",
    "OperatorError",
    "RefusedForSafety",
    "SettingsError",
    "Unanswered",
    "Unforeseen",
    "UnitError",
    "UsageError",
    "VenueError",
    "one_line",
    "shown",
]


class ExitCode(IntEnum):
    """How a command ends. Scripts and supervisord depend on the numbers; they never change."""

    meaning: str

    def __new__(cls, code: int, meaning: str = "") -> ExitCode:
        """Make the member from its number and attach the line that `--help` prints.

        Without the default, type checkers refuse the plain look-up `ExitCode(70)`.
        """
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "done"
    DIFFERENCE = 1, "a difference was found, a check failed, or the kernel refused"
    USAGE = 2, "the command line, a value or a path in it is wrong"
    NOT_RUNNING = 3, "serve is not running"
    STALE = 4, "the state is stale or the outcome unknown: look at status"
    REFUSED = 5, "refused for safety"
    VENUE = 6, "the exchange is unreachable or refused"
    SERVE_USAGE = 64, "serve: the command line is wrong; a restart will not help"
    INVARIANT = 70, "serve: an invariant is broken; stop and report"
    UNFORESEEN = 71, "serve: something nobody foresaw; it starts again into HOLD"
    JOURNAL = 74, "serve: the journal cannot be written or trusted"
    ALREADY_RUNNING = 75, "serve: another serve is active"
    SETTINGS = 78, "serve: the settings are wrong; a restart will not help"
    INTERRUPTED = 130, "interrupted (Ctrl-C)"
    PIPE = 141, "whoever read the output went away (as with `| head`)"


class DitaError(Exception):
    """The root. `except DitaError` means "anything we raise on purpose"; raise a leaf instead.

    The text is what happened; the keywords say what was expected, what was found instead and
    what to do. All four are text, so an error can be stored, sent and shown as it is.
    """

    # An error that nobody gave a family to is a bug of ours.
    exit_code: ClassVar[ExitCode] = ExitCode.INVARIANT

    def __init__(self, what: str, *, expected: str = "", found: str = "", action: str = "") -> None:
        # Only `what` goes into args: pickle and copy rebuild from args and restore the rest
        # from __dict__, so errors cross process borders without a __reduce__ of their own.
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.found = found
        self.action = action

    def __str__(self) -> str:
        """One line, always: it ends up in logs and on terminals, and may quote foreign text."""
        parts = (("expected ", self.expected), ("found ", self.found), ("do: ", self.action))
        details = "; ".join(label + text for label, text in parts if text)
        return one_line(": ".join(part for part in (self.what, details) if part))


# -- THEY ---------------------------------------------------------------------------------------


class VenueError(DitaError):
    """The exchange cannot be reached, said no, or said something we cannot read.

    It tells nothing about whether an order was executed: an order without a readable answer is
    UNKNOWN, and only evidence settles it.
    """

    exit_code = ExitCode.VENUE


# -- YOU ----------------------------------------------------------------------------------------


class OperatorError(DitaError):
    """Something outside this program must be changed before it is tried again."""

    exit_code = ExitCode.USAGE


class UsageError(OperatorError):
    """The command line makes no sense. Under serve the same mistake ends in SERVE_USAGE."""

    exit_code = ExitCode.USAGE


class UnitError(OperatorError, ValueError):
    """A number does not fit its unit exactly: wrong type, too many decimals, out of range.

    It is a ValueError as well, so that libraries which validate with converters (option
    parsers, decoders) report it as a bad value of theirs.
    """

    exit_code = ExitCode.USAGE


class SettingsError(OperatorError):
    """The configuration is wrong: an unknown key, a missing one, or a value out of bounds."""

    exit_code = ExitCode.SETTINGS


class RefusedForSafety(OperatorError):
    """It was understood, and not done: wrong mode, missing `--apply`, the exchange has moved."""

    exit_code = ExitCode.REFUSED


class NotRunning(OperatorError):
    """The command needs a running serve, and there is none."""

    exit_code = ExitCode.NOT_RUNNING


class Unanswered(OperatorError, TimeoutError):
    """A running serve did not answer in time: what it was asked may have happened, or not.

    It is a TimeoutError as well, so that whoever waits may treat it as one.
    """

    exit_code = ExitCode.STALE


class AlreadyRunning(OperatorError):
    """A second serve on the same journal would be a second writer; the first one stays."""

    exit_code = ExitCode.ALREADY_RUNNING


# -- NOBODY THOUGHT OF IT -----------------------------------------------------------------------


class Unforeseen(DitaError):
    """Something failed beside the kernel in a way that is mapped nowhere.

    The kernel and its journal are whole, so this is no KernelFault: serve may start again, and
    exits have to go on.  Entries are held until somebody has looked.  Please report it.
    """

    exit_code = ExitCode.UNFORESEEN


# -- WE -----------------------------------------------------------------------------------------


class KernelFault(DitaError):
    """An invariant of ours is broken. This should never happen.

    If it does, all bets are off: slots, money or both may no longer mean what they say, and no
    handler can know which. So nobody catches it to carry on. The runtime stops, the journal
    keeps the input that led here, and replaying it brings the same fault back. Please report
    it with that journal.
    """

    exit_code = ExitCode.INVARIANT


class JournalFault(KernelFault):
    """The journal cannot be written, or what it says cannot be trusted.

    A kernel that cannot journal sends nothing, so serve stops. Open positions are then closed
    from the exchange's truth alone: `pink-ctl flatten --emergency`.
    """

    exit_code = ExitCode.JOURNAL


# -- FOREIGN VALUES IN ERROR TEXTS --------------------------------------------------------------

# Beyond this many bits an int is described, not printed: CPython refuses to turn very large
# ints into text (a ValueError, in the middle of reporting another error).
_PRINTED_BITS_MAX = 256


def one_line(text: str) -> str:
    """Escape whatever is not printable, so that foreign text cannot break or colour a line."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def shown(value: object, limit: int = 80) -> str:
    """Show any value in an error text: its repr, on one line, at most `limit` characters.

    Never raises, whatever the value's own repr does.
    """
    text = one_line(_repr(value, limit))
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _repr(value: object, limit: int) -> str:
    if type(value) is str:
        # Cut first, so that a megabyte is cheap; ASCII only, so that look-alike digits show.
        return ascii(value[:limit])
    if type(value) is int and value.bit_length() > _PRINTED_BITS_MAX:
        return f"an int of {value.bit_length()} bits"
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a foreign repr may raise anything, and we are reporting
        return f"a {type(value).__name__} whose repr fails"


#: How the engine ends when an invariant is broken: by its own word, or as pure code does that was
#: handed something it does not expect.
ENGINE_FAULTS = (KernelFault, ArithmeticError, AssertionError, LookupError, TypeError, ValueError)


class BadField(ValueError):
    """A value that no packed record can hold; the kernel's border turns it into a refusal.

    Not of the tree above: it never reaches an operator as an exception.  ``args`` are the field,
    what was found and what was expected.
    """

    def __init__(self, field: str, found: object, expected: str) -> None:
        super().__init__(field, found, expected)
        self.field = field
        self.found = found
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.field} refused: expected {self.expected}; found {shown(self.found)}"
