"""A copy of the checkout in which a mutant lives: made, built and tested there.

Only the copy is ever changed.  It has a virtual environment of its own that finds the copy first
and the packages of the real one behind it, so making it takes seconds.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from mutants.mutant import ROOT, Mutant

#: A test that takes longer hangs: that is noticed too.
HANGS_S = 600
#: Folders that an installed package has below ``dita``.
_LINKED = ("commands", "configs", "runbooks")


class Verdict(StrEnum):
    """What the tests said to a mutant."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    BROKEN = "BROKEN"  # it cannot be built or run, so nothing was tried
    ARGUED = "argued"


class Checkout:
    """The copy, in ``build/mutants``."""

    def __init__(self, place: Path = ROOT / "build" / "mutants") -> None:
        self.place = place
        self.python = place / ".venv" / "bin" / "python"
        self._is_built = False  # of the sources as they are

    def make(self) -> None:
        """Copies what git knows or would take, and what was built of it."""
        listed = _output("git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z")
        names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
        for old in [p for p in self.place.glob("*") if p.name != ".venv"]:
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        for name in names:
            (self.place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.place / name)
        made_with = self.place / "setup.py"  # without optimisation a build takes seconds
        made_with.write_text(made_with.read_text().replace('"-O3"', '"-O0"'))
        for name in _LINKED:
            (self.place / "dita" / name).symlink_to(f"../{name}")
        _run(self.place, sys.executable, "-m", "venv", "--without-pip", ".venv")
        inside = next((self.place / ".venv").glob("lib/python*/site-packages"))
        packages = sysconfig.get_path("purelib")
        (inside / "mutants.pth").write_text(f"{self.place}\n{packages}\n")
        script = self.place / ".venv" / "bin" / "pink-ctl"
        script.write_text(f"#!{self.python}\nfrom dita.commands.app import main\nmain()\n")
        script.chmod(0o755)

    def build(self) -> bool:
        """Compiles what is older than its sources, quickly; False when it cannot be."""
        done = subprocess.run(
            [str(self.python), "setup.py", "-q", "build_ext", "--inplace"],
            cwd=self.place,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.stderr.write(done.stderr[-2_000:])
        self._is_built = not done.returncode
        return self._is_built

    def test(self, tests: Iterable[str]) -> tuple[Verdict, str]:
        """Runs tests up to the first that fails, and names it."""
        command = [str(self.python), "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        ids = [f"tests/{test}" for test in tests]
        try:
            done = subprocess.run(
                [*command, *ids], cwd=self.place, capture_output=True, text=True, timeout=HANGS_S
            )
        except subprocess.TimeoutExpired:
            return Verdict.KILLED, f"no end within {HANGS_S} s"
        if done.returncode == 0:
            return Verdict.SURVIVED, ""
        failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
        if done.returncode == 1 and failed:
            return Verdict.KILLED, failed[0].removeprefix("FAILED ").split(" - ")[0]
        return Verdict.BROKEN, "\n".join(done.stdout.splitlines()[-15:])

    def judge(self, mutant: Mutant) -> tuple[Verdict, str]:
        """Makes the change, builds, tests, and takes the change back."""
        if mutant.argued:
            return Verdict.ARGUED, mutant.argued
        if not mutant.is_compiled and not self._is_built:
            self.build()  # else the mutant before would still be in it
        path = self.place / mutant.path
        whole = path.read_text()
        path.write_text(mutant.applied(whole))
        try:
            if mutant.is_compiled and not self.build():
                return Verdict.BROKEN, "it does not compile"
            return self.test(mutant.tests)
        finally:
            path.write_text(whole)
            self._is_built = self._is_built and not mutant.is_compiled


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _run(place: Path, *command: str) -> None:
    subprocess.run(command, cwd=place, check=True)
