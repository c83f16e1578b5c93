"""How commands end: errors of the system in one line, JSON also for errors, codes as documented.

The same numbers stand in the help, the README, the pages and supervisord's file; a script depends
on them.
"""

from __future__ import annotations

import configparser
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import another_user, open_folder, typed

from dita.errors import ExitCode

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-P", "-m", "dita.commands"]


def run(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own, for what happens to its streams."""
    fixed = {"capture_output": True, "text": True, "timeout": 60, "check": False}
    return subprocess.run([*COMMAND, *words], **{**fixed, **more})  # type: ignore[call-overload,no-any-return]


# -- what the system refuses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("explain T1 --state-dir {none}", 2, "{none}"),
        ("journal verify --state-dir {none}", 2, "no journal here"),
        ("journal tail --state-dir {none}", 2, "no journal here"),
        ("journal export --state-dir {none}", 2, "no journal here"),
        ("journal import {none} --state-dir {new}", 2, "No such file"),
        ("golden --file {none}", 2, "No such file"),
        ("status --state-dir {file}", 3, "serve is not running"),
        ("serve --config demo --state-dir {file}", 78, "a file in its place"),
        ("serve --config demo --state-dir {file}/below", 78, "a file in its place"),
        ("serve --config {none}", 78, "{none}"),
        ("soak --svg {none}/x.svg --state-dir {new}", 2, "{none}/x.svg"),
        ("soak --samples {none}/x.jsonl --state-dir {new}", 2, "{none}/x.jsonl"),
        ("replay --trade FET --svg {none}/x.svg", 2, "{none}/x.svg"),
        ("reconcile --apply {none} --reason x --state-dir {new}", 2, "plan not readable"),
        ("exchange --symbol NOPE", 2, "NOPE"),
        ("exchange --tape {none}", 2, "{none}"),
        ("exchange --faults {none}", 78, "{none}"),
        ("config show --config {none}", 78, "{none}"),
        ("runbook nope", 2, "no such page"),
    ],
)
def test_a_slip_is_one_line_and_no_bug(tmp_path: Path, words: str, code: int, says: str) -> None:
    file = tmp_path / "a-file"
    file.write_text("")
    places = {"none": f"{tmp_path}/none", "file": str(file), "new": f"{tmp_path}/new"}
    done = typed(*words.format(**places).split())
    assert done.code == code, done.stderr
    assert says.format(**places) in done.stderr
    assert "Traceback" not in done.stderr and "bug" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "new").exists()
    as_json = typed(*words.format(**places).split(), "--json")
    error = json.loads(as_json.stdout)["error"]
    assert (as_json.code, error["exit_code"]) == (code, code)
    assert error["what"] in as_json.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="another user needs root")
def test_a_folder_that_is_not_ours_is_the_commonest_first_mistake() -> None:
    words = ("serve", "--config", "demo", "--once", "--state-dir")
    with open_folder() as folder:
        (folder / "of-root").mkdir(mode=0o700)
        assert typed(*words, str(folder / "ours")).code == 0  # everything is imported by then
        with another_user():
            done = typed(*words, str(folder / "of-root" / "state"))
    assert done.code == 78, done.stderr
    assert "Permission denied" in done.stderr and "Traceback" not in done.stderr
    assert "belongs to the user of serve" in done.stderr


def test_a_command_line_that_makes_no_sense_is_json_too() -> None:
    for words in (("status", "--nonsense"), ("hold",), ("no-such-command",)):
        done = typed(*words, "--json")
        error = json.loads(done.stdout)["error"]
        assert (done.code, error["exit_code"]) == (2, 2)
        assert error["found"] in done.stderr


# -- streams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("golden",), ("--help",), ("replay", "--trade", "FET")])
def test_a_full_disk_under_stdout_is_said(words: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = run(*words, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("golden",), ("replay", "--trade", "FET"), ("--help",)])
def test_a_reader_that_went_away_is_no_failed_check(words: tuple[str, ...]) -> None:
    """As `| head` does: 141, which is what the shell calls the end by a closed pipe."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(*words, capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


# -- the codes in every document -------------------------------------------------------------------


def codes_in(text: str) -> set[int]:
    return {int(number) for number in re.findall(r"(?<![\w.])(\d{1,3})(?= [a-z(])", text)}


def test_the_codes_are_the_same_in_readme_help_and_errors() -> None:
    shown = typed("--help").stdout
    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Exit codes")[2]
    for code in ExitCode:
        assert f"{int(code):4}  {code.meaning}" in " ".join(shown.split("\n")) or any(
            line.startswith(f"{int(code):4}  ") for line in shown.splitlines()
        )
        assert f"| {int(code)} | {code.meaning} |" in readme, code
    assert len(re.findall(r"(?m)^\| \d+ \|", readme)) == len(ExitCode)


def test_what_serve_ends_with_is_the_same_for_supervisord_the_page_and_the_help() -> None:
    """Codes that a supervisor must not answer with a restart, and those that it must."""
    serves = {code for code in ExitCode if code.meaning.startswith("serve:")}
    decisions = {0, *map(int, serves - {ExitCode.UNFORESEEN})}
    starts_again = {int(ExitCode.VENUE), int(ExitCode.UNFORESEEN)}
    text = (ROOT / "configs" / "supervisord.conf").read_text(encoding="utf-8")
    read = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    read.read_string(text)
    assert {int(code) for code in read["program:pink"]["exitcodes"].split(",")} == decisions
    page = (ROOT / "runbooks" / "supervisord.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if "after it ran for `startsecs`" in line)
    assert {int(code) for code in re.findall(r"\d+", row.split("after")[0])} == decisions
    (crash,) = (line for line in page.splitlines() if "a signal (crash" in line)
    told = importlib.import_module("dita.commands.serve").serve.__doc__
    for code in sorted(decisions | starts_again):
        assert re.search(rf"\b{code}\b", told), f"{code} is not in serve --help"
    assert {int(code) for code in re.findall(r"(?<!-)\b\d+", crash)} == starts_again
    serve_page = (ROOT / "runbooks" / "serve.md").read_text(encoding="utf-8")
    for code in sorted(decisions - {0} | starts_again):
        assert re.search(rf"(?m)^\| {code}\b", serve_page), f"{code} is not in runbooks/serve.md"


@pytest.mark.parametrize("path", sorted((ROOT / "runbooks").glob("*.md")), ids=lambda p: p.stem)
def test_a_page_knows_no_other_codes(path: Path) -> None:
    """Each `exit N` and each row of a table of codes is one of ours."""
    text = path.read_text(encoding="utf-8")
    known = {int(code) for code in ExitCode} | {128 + 9, 128 + 15}
    named = {int(n) for n in re.findall(r"(?i)\bexit (?:code )?\(?(\d+)\b", text)}
    rows = re.split(r"(?m)^\| (?:exit|it ends with|serve ends with)[^\n]*\n\|[-| ]*\n", text)[1:]
    for row in rows:
        for line in row.split("\n\n")[0].splitlines():
            named |= {
                int(n) for n in re.findall(r"(?<!-)\b\d+", line.split("|")[1].split("after")[0])
            }
    assert named <= known, f"{path.name}: {named - known}"
