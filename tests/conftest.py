"""What all tests share: the command line as it is installed, and how long hypothesis looks.

DITA_TESTS=long searches with new examples at every run, and many of them; the default run tries
the same examples every time, so that a red build means a change and not luck.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from importlib.metadata import entry_points

import pytest
from hypothesis import HealthCheck, settings
from support.bad_night import written_day
from support.poison import poison
from support.serve_station import station
from typer.testing import CliRunner, Result

__all__ = ["poison", "station", "written_day"]  # fixtures for every test

settings.register_profile(
    "default",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is not a finding
)
settings.register_profile(
    "long",
    deadline=None,
    max_examples=20_000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("long" if os.environ.get("DITA_TESTS") == "long" else "default")


@pytest.fixture(scope="session")
def cli() -> Callable[..., Result]:
    """Run pink-ctl in this process: `cli("golden", "--json")` gives exit_code, stdout, stderr.

    It is found through its entry point, so what is tested is what is installed. An unexpected
    exception comes through to the test instead of becoming an exit code.
    """
    (entry,) = entry_points(group="console_scripts", name="pink-ctl")
    assert callable(entry.load()), "pink-ctl must start at a function"
    make_app = importlib.import_module(entry.module).make_app
    runner = CliRunner()

    def run(*arguments: str) -> Result:
        return runner.invoke(
            make_app(arguments), arguments, prog_name="pink-ctl", catch_exceptions=False
        )

    return run
