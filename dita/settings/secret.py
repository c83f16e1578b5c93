"""A secret as a reference, `env:NAME` or `file:/PATH`, until the moment it is used.

`merging` makes one of each reference, and venues call `reveal`.  It must not know which secrets
there are or what they open, and keeps nothing of what it has read.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping
from typing import Final

from dita.errors import SettingsError

SECRET_BYTES_MAX: Final = 4_096


class Secret:
    """A reference to a secret.  Whatever shows it shows the reference; `reveal` alone reads it.

    It cannot be pickled, and it keeps nothing of what it has read.
    """

    __slots__ = ("_variable", "key", "reference")

    def __init__(self, key: str, reference: str, environ: Mapping[str, str]) -> None:
        self.key = key
        self.reference = reference

        # A closure: the repr of the method environ.get itself would show the whole environment.
        def variable(name: str) -> str | None:
            return environ.get(name)

        self._variable = variable

    def __repr__(self) -> str:
        return f"Secret({self.reference!r})"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reference == other.reference

    def __hash__(self) -> int:
        return hash(self.reference)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is never stored: store its reference")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def reveal(self) -> str:
        """The secret itself.  SettingsError when it is missing or not kept safely."""
        scheme, _, name = self.reference.partition(":")
        text = self._variable(name) if scheme == "env" else self._read(name)
        if not text:
            raise self._refusal("to be set", "nothing", "set it before starting")
        if len(text) > SECRET_BYTES_MAX or not text.isascii() or not text.isprintable():
            raise self._refusal(
                "one line of printable ASCII", "something else", "write the bare key, nothing else"
            )
        return text

    def state(self) -> str:
        """`set` when `reveal` would succeed; else `missing`, or `refused` when it is unsafe."""
        try:
            self.reveal()
        except SettingsError as bad:
            return "missing" if bad.found == "nothing" else "refused"
        return "set"

    def _read(self, name: str) -> str:
        try:
            # NONBLOCK, so that a pipe in the file's place cannot stop us here for ever.
            number = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as bad:
            raise self._refusal(
                "a file that we can read", bad.strerror or "an error", "check path and owner"
            ) from None
        try:
            self._check(os.fstat(number))
            content = os.read(number, SECRET_BYTES_MAX + 2)
        finally:
            os.close(number)
        # latin-1 takes any byte; what is not ASCII is refused above without being shown.
        return content.decode("latin-1").removesuffix("\n").removesuffix("\r")

    def check_file(self) -> None:
        """Refuse a file that others could have read, before anything is started; not opened."""
        scheme, _, name = self.reference.partition(":")
        if scheme == "file":
            try:
                found = os.stat(name)
            except OSError:
                return  # missing: `reveal` will say so, and `config show` does
            self._check(found)

    def _check(self, found: os.stat_result) -> None:
        mode = stat.S_IMODE(found.st_mode)
        if not stat.S_ISREG(found.st_mode):
            raise self._refusal("a regular file", stat.filemode(found.st_mode), "name the file")
        if found.st_uid != os.geteuid():
            raise self._refusal(
                f"a file owned by uid {os.geteuid()}, which runs this",
                f"uid {found.st_uid}",
                f"run this as that user, {_as_user(found.st_uid)}; or, when serve runs as uid"
                f" {os.geteuid()}, chown it to that",
            )
        if mode & ~0o600:
            raise self._refusal(
                "mode 0600", f"mode {mode:04o}", "chmod 600 it; if others read it, make a new key"
            )

    def _refusal(self, expected: str, found: str, action: str) -> SettingsError:
        return SettingsError(
            f"{self.key} refused ({self.reference})", expected=expected, found=found, action=action
        )


def _as_user(uid: int) -> str:
    try:
        return f"sudo -u {pwd.getpwuid(uid).pw_name}"
    except KeyError:  # a container's user has no entry
        return f"setpriv --reuid {uid}"
