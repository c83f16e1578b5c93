"""The results as a plain table and as RESULTS.md; formats what it is given and measures nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; ``passed`` is None where there is no target."""

    name: str
    value: str
    target: str = ""
    passed: bool | None = None

    @property
    def verdict(self) -> str:
        """PASS, FAIL, or nothing."""
        return "" if self.passed is None else "PASS" if self.passed else "FAIL"


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, a sentence on what was done, the figures, and what to keep in mind."""

    title: str
    text: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()


def machine(compiler: str) -> list[tuple[str, str]]:
    """Where and with what it was measured."""
    versions = ("Cython", "msgspec", "setuptools")
    found = [(name, _version(name)) for name in versions]
    return [
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("CPU", _cpu()),
        ("load before", _load()),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("C compiler", _first_line([compiler, "--version"])),
        *found,
    ]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or ["unknown"])[0]


def _load() -> str:
    """Processes that wanted a core in the minute before: above 0.3 or so, take the low ends."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or "unknown"
    fields = [line.partition(":") for line in info.read_text().splitlines()]
    names = [value.strip() for key, _, value in fields if key.strip() == "model name"]
    return f"{names[0]}, {len(names)} logical" if names else "unknown"


def plain(sections: Sequence[Section]) -> str:
    """The table for the terminal."""
    rows = [row for section in sections for row in section.rows]
    name = max(len(row.name) for row in rows)
    value = max(len(row.value) for row in rows)
    target = max(len(row.target) for row in rows)
    lines: list[str] = []
    for section in sections:
        lines += ["", section.title]
        for row in section.rows:
            cells = f"  {row.name:<{name}}  {row.value:>{value}}  {row.target:<{target}}"
            lines.append(f"{cells}  {row.verdict}".rstrip())
        lines += [f"  {note}" for note in section.notes]
    return "\n".join(lines[1:])


def markdown(sections: Sequence[Section], facts: Sequence[tuple[str, str]], command: str) -> str:
    """The file."""
    lines = ["# Measured speed and size", ""]
    lines += [f"Written by `{command}`; figures depend on the machine, ratios less so.", ""]
    lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts)]
    return "\n".join(lines) + "\n" + "".join(map(section_text, sections))


def section_text(section: Section) -> str:
    """One section of the file, with the empty line before it."""
    lines = ["", f"## {section.title}", "", section.text, ""]
    lines += ["| | median [min..max] | target | |", "|---|---|---|---|"]
    lines += [f"| {r.name} | {r.value} | {r.target} | {r.verdict} |" for r in section.rows]
    if section.notes:
        lines += ["", *(f"- {note}" for note in section.notes)]
    return "\n".join(lines) + "\n"


def where_and_when() -> str:
    """One sentence of facts, for a section that is measured apart from the others."""
    facts = dict(machine("cc"))
    return f"{facts['date']}, {facts['CPU']}, load before {facts['load before']}."


def other_sections(own: Sequence[str]) -> str:
    """The file's sections under other titles than these."""
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    titles = [part.partition("\n")[0] for part in text.split("\n## ")[1:]]
    return "".join(old_section(title) for title in titles if title not in own)


def old_section(title: str) -> str:
    """A section as it stands in the file, for whoever writes the rest anew; "" if it is not."""
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    before, heading, rest = text.partition(f"\n## {title}\n")
    del before
    return heading + rest.split("\n## ")[0].rstrip("\n") + "\n" if heading else ""


def write_section(section: Section) -> None:
    """Put a section into the file, in the place of its older self."""
    text = RESULTS.read_text(encoding="utf-8")
    old = old_section(section.title)
    new = section_text(section)
    RESULTS.write_text(text.replace(old, new) if old else text + new, encoding="utf-8")
