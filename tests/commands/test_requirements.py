"""The packages that run beside the keys: pinned, by the hash of each file, and all of them.

`scripts/lock` writes requirements/*.txt from pyproject.toml; a dependency that was added there and
not pinned again would be fetched unseen, or not at all.
"""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
WANTED = {
    "serve.txt": [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["service"]],
    "build.txt": PYPROJECT["build-system"]["requires"],
}
HASH = re.compile(r" +--hash=sha256:[0-9a-f]{64}")


def pinned(name: str) -> dict[str, Requirement]:
    """Each package of a file; the file's form is held to: name==version, then its hashes alone."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    packages: dict[str, Requirement] = {}
    for entry in text.replace("\\\n", " ").splitlines():
        if entry.startswith("#"):
            continue
        found = Requirement(HASH.sub("", entry))  # raises for whatever else stands in the line
        assert HASH.search(entry), f"{found.name} has no hash"
        assert re.fullmatch(r"==[0-9][\w.]*", str(found.specifier)) and found.url is None
        packages[canonicalize_name(found.name)] = found
    return packages


def meant(requirements: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(each.name): each for each in map(Requirement, requirements)}


@pytest.mark.parametrize("name", WANTED)
def test_what_pyproject_asks_for_is_pinned_within_its_bounds(name: str) -> None:
    pins = pinned(name)
    for package, wanted in meant(WANTED[name]).items():
        assert package in pins, f"{package} is not pinned: run scripts/lock"
        (version,) = pins[package].specifier
        assert wanted.specifier.contains(version.version), f"{package}: run scripts/lock"


@pytest.mark.parametrize("name", WANTED)
def test_what_those_need_is_pinned_too_and_nothing_besides(name: str) -> None:
    """By what the installed ones say that they need; pip would refuse a hole, nobody a surplus."""
    pins = pinned(name)
    seen: set[str] = set()
    ask = list(meant(WANTED[name]))
    while ask:
        package = ask.pop()
        if package in seen:
            continue
        seen.add(package)
        for needed in map(Requirement, metadata.requires(package) or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                ask.append(canonicalize_name(needed.name))
    assert {package for package in pins if pins[package].marker is None} <= seen <= set(pins)


@pytest.mark.parametrize("name", WANTED)
def test_the_tests_run_with_what_is_pinned(name: str) -> None:
    for package, pin in pinned(name).items():
        if pin.marker is None or pin.marker.evaluate():
            assert pin.specifier.contains(metadata.version(package)), package


@pytest.mark.parametrize("name", WANTED)
def test_where_packages_come_from_is_the_machine_s_matter(name: str) -> None:
    """No address, no option of pip: neither can bring in another source."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert set(re.findall(r"--\w[\w-]*", text)) == {"--hash"}


def test_the_pages_install_from_the_list_alone() -> None:
    """Every pip line of the pages either checks hashes or fetches nothing."""
    lines = [
        line
        for page in ("install", "upgrade", "move")
        for line in (ROOT / "runbooks" / f"{page}.md").read_text(encoding="utf-8").splitlines()
        if re.match(r"\S*pip install", line)
    ]
    assert len(lines) >= 4
    for line in lines:
        assert line.endswith(("--require-hashes -r serve.txt", "--no-deps ./pink_ctl-*.whl")), line
