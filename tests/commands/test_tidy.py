"""House rules that a reviewer would otherwise have to remember: layers, lengths, banned words.

Reads the sources as text and as syntax trees; only the last test loads what was built. When a
rule stands in the way of good code, change the rule here, with its reason.
"""

from __future__ import annotations

import ast
import importlib
import importlib.resources
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
KERNEL_SOURCES = sorted(
    path for suffix in ("pyx", "pxd", "pxi", "h") for path in (ROOT / "dita").rglob(f"*.{suffix}")
)

# Imports point strictly down. On layer 0 modules may know one another; on the others siblings
# do not. A package (zinc, venues, ...) counts as one module and is free inside.
LAYERS = {
    "contracts": 0,
    "units": 0,
    "errors": 0,
    "clock": 0,
    "files": 0,
    "transitions": 0,
    "identity": 0,
    "refusals": 0,
    "frozen": 0,
    "fields": 0,
    "amounts": 0,
    "intents": 0,
    "events": 0,
    "display": 0,
    "streams": 0,
    "kernel": 1,
    "account": 1,
    "policy": 1,
    "router": 1,
    "engine": 2,
    "venues": 3,
    "exchange": 3,
    "journal": 3,
    "zinc": 3,
    "projections": 3,
    "reconcile": 3,
    "isolation": 3,
    "settings": 3,
    "golden": 3,
    "runtime": 4,
    "incident": 4,  # composes: it plays golden's steps, and sets the old defects beside them
    "simulation": 5,
    "chaos": 5,
    "commands": 5,
}
# extension: the only module to import it
COMPILED = {"_kernel": "kernel", "_journal": "journal", "_digits": "units"}
INTERFACE_LAYERS = {0, 2, 3, 4}  # what a command may import: never the kernel or the account

FUNCTION_LINES_MAX = 70

# Such a name says that nobody knew what the module is for.
EMPTY_NAMES = re.compile(
    r"(^|_)(utils?|helpers?|managers?|handlers?|misc|common|base|core|data|info|tools?|stuff)($|_)"
)

EXACT_MODULES = ("kernel", "engine", "account", "units")  # where a float would be a wrong cent
RANDOM = {"random", "secrets", "uuid"}


def sources(*folders: str, suffix: str = "py") -> list[Path]:
    """List the source files of the given folders of the checkout."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob(f"*.{suffix}"))


def label(path: Path) -> str:
    """Name a file in a test's id and in messages as one would type it."""
    return path.relative_to(ROOT).as_posix()


def each(*paths: Path) -> pytest.MarkDecorator:
    """Make one test per file, so that a failure names all the files at fault."""
    return pytest.mark.parametrize("path", paths, ids=label)


OURS = sources("dita", "commands")
ALL = [*OURS, *sources("configs", "tests", "benchmarks"), ROOT / "setup.py"]


def tree(path: Path) -> ast.Module:
    """Parse a Python source."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=label(path))


# -- LAYERS -------------------------------------------------------------------------------------


def module_of(path: Path) -> str:
    """Give the module that a file of dita/ belongs to, as LAYERS names it; "" is dita itself."""
    first = path.relative_to(ROOT / "dita").parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything a file imports, in bodies and TYPE_CHECKING too."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{name}.{alias.name}") for alias in node.names)


def imported_from_dita(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and module, as LAYERS names it, of what a file imports from dita."""
    for line, name in imported(path):
        parts = name.split(".")
        if parts[0] == "dita":
            module = parts[1] if len(parts) > 1 else ""
            # `from dita import __version__` takes a name of the package, not a module.
            yield line, "" if module == "__version__" else module


@each(*sources("dita"))
def test_imports_point_down(path: Path) -> None:
    """A module knows the layers below its own, and no sibling except on layer 0."""
    module = module_of(path)
    known = {"": -1, **dict.fromkeys(COMPILED, 0), **LAYERS}
    assert module in known, f"add {module} to LAYERS: on which layer does it stand?"
    for line, target in imported_from_dita(path):
        where = f"{label(path)}:{line} imports dita.{target}"
        assert target in known, f"{where}, which is not in LAYERS"
        if target in COMPILED:
            assert module == COMPILED[target], f"{where}: only dita/{COMPILED[target]} may"
        elif target != module and not (known[target] == known[module] == 0):
            assert known[target] < known[module], f"{where}: imports point down only"


@each(*sources("commands"))
def test_commands_keep_out_of_the_kernel(path: Path) -> None:
    """A command calls one function of layers 0 and 2 to 4; its siblings it imports relatively."""
    for line, target in imported_from_dita(path):
        where = f"{label(path)}:{line} imports dita.{target}"
        allowed = target == "" or LAYERS.get(target) in INTERFACE_LAYERS
        assert allowed, f"{where}: commands never import the kernel, the account or dita.commands"


@each(*ALL)
def test_no_import_by_a_forbidden_name(path: Path) -> None:
    """commands/ is dita.commands, relative inside; Click is Typer's own copy."""
    for node in ast.walk(tree(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        for name in names:
            where = f"{label(path)}: import of {name}"
            assert name.split(".")[0] not in ("commands", "configs", "click"), where


# -- SHAPE --------------------------------------------------------------------------------------


@each(*ALL)
def test_module_says_what_it_is_for(path: Path) -> None:
    """Every module opens with a docstring: what it is for, who calls it, what it must not know."""
    assert ast.get_docstring(tree(path)), f"{label(path)} has no docstring"


@each(*ALL)
def test_module_has_a_telling_name(path: Path) -> None:
    """No util, helper, manager, common: they collect what has no place."""
    for part in path.relative_to(ROOT).parts:
        assert not EMPTY_NAMES.search(part.removesuffix(".py")), f"{label(path)}: rename {part}"


@each(*ALL)
def test_functions_are_short(path: Path) -> None:
    """What does not fit on a screen is two functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            where = f"{label(path)}:{node.lineno} {node.name}"
            assert lines <= FUNCTION_LINES_MAX, f"{where} has {lines} lines"


def cython_functions(text: str) -> Iterator[tuple[int, str, int]]:
    """Yield first line, name and length of each function, by indentation.

    A function is a def whose signature, brackets closed, ends in a colon; it lasts until a line
    that is not indented deeper. Blank lines and comments after it are not its own.
    """
    lines = text.splitlines()
    for start, line in enumerate(lines):
        opened = re.match(r"(\s*)(?:async\s+)?(?:def|cdef|cpdef)\b[^#]*?(\w+)\s*\(", line)
        if not opened:
            continue
        end, depth = start, 0
        while end < len(lines):  # to the end of the signature
            code = lines[end].partition("#")[0]
            depth += code.count("(") - code.count(")")
            if depth <= 0:
                break
            end += 1
        if end == len(lines) or not lines[end].partition("#")[0].rstrip().endswith(":"):
            continue
        last = end
        for number in range(end + 1, len(lines)):
            code = lines[number].lstrip()
            if code and len(lines[number]) - len(code) <= len(opened[1]):
                break
            if code and not code.startswith("#"):
                last = number
        yield start + 1, opened[2], last - start + 1


@each(*(path for path in KERNEL_SOURCES if path.suffix in (".pyx", ".pxi")))
def test_kernel_functions_are_short(path: Path) -> None:
    """The same limit in the compiled part, where nothing else would count."""
    for line, name, lines in cython_functions(path.read_text(encoding="utf-8")):
        where = f"{label(path)}:{line} {name}"
        assert lines <= FUNCTION_LINES_MAX, f"{where} has {lines} lines"


def test_kernel_functions_are_found() -> None:
    """The scan above knows multi-line signatures, declarations, and where a function ends."""
    text = (
        "cdef int limit = size(3)\n"
        "cdef int fill(Slot* slot,  # (the slot\n"
        "              int64_t lots\n"
        ") except -1 nogil:\n"
        "    slot.lots = lots\n"
        "\n"
        "    return 0\n"
        "\n"
        "# not of fill\n"
        "cdef class Kernel:\n"
        "    def size(self):\n"
        "        return 1\n"
        "    cdef int drop(self) except -1\n"
    )
    assert list(cython_functions(text)) == [(2, "fill", 6), (11, "size", 2)]


# -- WHAT MUST NOT BE IN THERE ------------------------------------------------------------------


@each(*ALL)
def test_no_bare_except(path: Path) -> None:
    """It would swallow KeyboardInterrupt and every fault of ours."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type, f"{label(path)}:{node.lineno} catches everything: name the error"


@each(*(path for path in KERNEL_SOURCES if path.suffix in (".pyx", ".pxi")))
def test_kernel_has_no_bare_except_and_no_floating_point(path: Path) -> None:
    """Money is integers; a double anywhere in the kernel would be a rounding."""
    text = path.read_text(encoding="utf-8")
    bare = re.search(r"^\s*except\s*:", text, re.MULTILINE)
    assert not bare, f"{label(path)} has a bare except"
    # Python's tokenizer does for Cython once `except? -1` and suffixes as in 10ULL are gone.
    text = re.sub(r"\b(0[xX][0-9a-fA-F_]+|\d[\d_]*)[uUlL]+\b", r"\1", text.replace("?", " "))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        where = f"{label(path)}:{token.start[0]} {token.line.strip()}"
        if token.type == tokenize.NAME:
            assert token.string not in ("double", "float"), where
        elif token.type == tokenize.NUMBER:
            assert isinstance(ast.literal_eval(token.string), int), where


@each(*(path for path in sources("dita") if module_of(path) in EXACT_MODULES))
def test_no_float_literal_where_money_is_counted(path: Path) -> None:
    """Floats exist nowhere between the socket and the row."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant):
            where = f"{label(path)}:{node.lineno}"
            assert not isinstance(node.value, float), f"{where} has the float {node.value}"


@each(*(path for path in OURS if label(path) != "dita/clock.py"))
def test_only_the_clock_reads_time(path: Path) -> None:
    """Time is an argument everywhere else, so that a replay gives the same bytes."""
    for line, name in imported(path):
        where = f"{label(path)}:{line} imports {name}"
        assert name.split(".")[0] != "time", f"{where}: take the time from a dita.clock"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today"):
            read = ast.unparse(node)
            reading = read.startswith(("datetime.", "date."))
            assert not reading, f"{label(path)}:{node.lineno} reads {read}: ask a dita.clock"


@each(*(path for path in sources("dita") if LAYERS.get(module_of(path), 0) < 4))
def test_no_chance_and_no_environment_below_the_runtime(path: Path) -> None:
    """They arrive as arguments, so that the same journal gives the same bytes."""
    for line, name in imported(path):
        where = f"{label(path)}:{line} imports {name}"
        assert name.split(".")[0] not in RANDOM, f"{where}: take a seed or an id as an argument"
        assert name not in ("os.environ", "os.getenv", "os.urandom"), where
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            where = f"{label(path)}:{node.lineno} uses .{node.attr}"
            assert node.attr not in ("environ", "getenv", "urandom"), f"{where}: take an argument"


# -- WHAT IS BUILT AND INSTALLED ----------------------------------------------------------------


def test_data_files_are_found_as_an_installed_program_finds_them() -> None:
    """The golden cases are package data of dita.configs, in a checkout and in a wheel."""
    configs = importlib.resources.files("dita.configs")
    assert any(case.name.endswith(".toml") for case in (configs / "golden").iterdir())


@pytest.mark.parametrize("module", COMPILED)
def test_compiled_module_is_not_stale(module: str) -> None:
    """An editable install does not compile again by itself; a stale extension must be loud."""
    built = Path(importlib.import_module(f"dita.{module}").__file__ or "")
    if built.parent != ROOT / "dita":
        pytest.skip("an installed wheel is under test")
    # Journal and digits use the kernel's packed record or its money: they depend on the
    # declarations.
    others = {
        "_kernel": ("_journal", "_crc32c", "_digits"),
        "_journal": ("_kernel.pyx", "rules", "_digits"),
        "_digits": ("_kernel.pyx", "rules", "_journal", "_crc32c"),
    }[module]
    mine = [p for p in KERNEL_SOURCES if not label(p).removeprefix("dita/").startswith(others)]
    newer = [label(path) for path in mine if path.stat().st_mtime > built.stat().st_mtime]
    assert not newer, f"{newer} changed after {built.name} was built: run make build"
