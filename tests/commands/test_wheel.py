"""What a wheel holds: every package, every file that is read as data, and it works alone.

The lists are checked always; the installation, which takes a minute, in the long tier.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SITE = next(p for p in sys.path if p.endswith("site-packages"))
#: Folder of the checkout, and the package that it is installed as.
FOLDERS = {"dita": "dita", "commands": "dita/commands", "configs": "dita/configs",
           "runbooks": "dita/runbooks"}  # fmt: skip
#: Made by Cython, or for it alone; the .pyx are not run and not looked at.
LEFT_OUT = {".c", ".so", ".html", ".pyx", ".pyc"}

LIST = """
import json, os, sys
from distutils.core import run_setup
os.chdir(sys.argv[1])
dist = run_setup("setup.py", stop_after="init")
dist.parse_config_files()
build = dist.get_command_obj("build_py")
build.ensure_finalized()
modules = [os.path.relpath(file) for _, _, file in build.find_all_modules()]
data = [os.path.join(source, name) for _, source, _, names in build.data_files for name in names]
print(json.dumps(sorted(map(os.path.relpath, modules + data))))
"""


def test_a_wheel_would_hold_every_file_that_is_used(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", f"import setuptools\n{LIST}", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    listed = set(json.loads(done.stdout.splitlines()[-1]))
    there = {
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in LEFT_OUT and "__pycache__" not in path.parts
    }
    notes = {path for path in there if path.startswith("configs/") and path.endswith(".md")}
    assert there - listed - notes == set()
    assert {"dita/exchange/server.py", "runbooks/flatten.md"} <= listed


@pytest.mark.skipif(os.environ.get("DITA_TESTS") != "long", reason="a minute; .ci/run has it")
def test_an_installed_wheel_works_without_the_checkout(tmp_path: Path) -> None:
    """Made from the source distribution: its demo on its own exchange, its exchange, its cases, its
    pages, and the help of every command."""
    wheels, home = tmp_path / "wheels", tmp_path / "venv"
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    sdist = [sys.executable, "-W", "ignore", "setup.py", "-q", "sdist", "-d", str(tmp_path)]
    subprocess.run(sdist, check=True, timeout=120, cwd=ROOT)
    (source,) = tmp_path.glob("*.tar.gz")
    subprocess.run([*pip, "-w", str(wheels), str(source)], check=True, timeout=300)
    venv.create(home, with_pip=True)
    beside = tmp_path / "beside"
    beside.mkdir()
    for path in Path(SITE).iterdir():
        if "pink" not in path.name:
            (beside / path.name).symlink_to(path)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "beside.pth").write_text(f"{beside}\n")
    (wheel,) = wheels.iterdir()
    install = [str(home / "bin" / "pip"), "install", "-q", "--no-index", str(wheel)]
    subprocess.run(install, check=True, timeout=120)
    program = str(home / "bin" / "pink-ctl")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    for words in (("golden",), ("replay", "--trade", "FET"), ("runbook", "flatten")):
        done = run(*words)
        assert done.returncode == 0, done.stderr
    for words in ((), *((name,) for name in importlib.import_module("dita.commands.app").COMMANDS)):
        done = run(*words, "--help")
        assert done.returncode == 0 and "Usage" in done.stdout, done.stderr
    demo = run("serve", "--demo", "--json")
    assert demo.returncode == 0, demo.stderr
    assert json.loads(demo.stdout)["exchange"]["agrees"]
    with subprocess.Popen([program, "exchange"], cwd=tmp_path, stdout=subprocess.PIPE) as exchange:
        assert exchange.stdout is not None
        assert json.loads(exchange.stdout.readline())["rest"].startswith("http://127.0.0.1:")
        exchange.send_signal(signal.SIGTERM)
        assert exchange.wait(30) == 0
