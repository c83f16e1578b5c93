"""`pink-ctl serve` on BingX's adapter, against `pink-ctl exchange`: two processes and the settings.

What an operator meets first: it connects and gets READY, or it says what is wrong and with which
exit code, and never shows a key.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from support.exchange_process import KEY, SECRET, RunningExchange, running

WAIT_S = 60


def serve_once(
    exchange: RunningExchange, folder: Path, secret: str = SECRET
) -> subprocess.CompletedProcess[str]:
    """Start, recover, print the status, stop."""
    config = folder / "serve.toml"
    config.write_text(
        '[venue]\nkind = "bingx"\nenvironment = "vst"\n'
        f'rest_url = "{exchange.rest}"\nstream_url = "{exchange.stream}"\n'
        'api_key = "env:TEST_KEY"\napi_secret = "env:TEST_SECRET"\n'
        f'[journal]\ndirectory = "{folder / "journal"}"\n'
    )
    program = Path(sys.executable).with_name("pink-ctl")
    return subprocess.run(
        [str(program), "serve", "--once", "--json", "--config", str(config)],
        env={**os.environ, "TEST_KEY": KEY, "TEST_SECRET": secret},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )


def test_it_gets_ready_and_knows_the_exchange_s_balance(tmp_path: Path) -> None:
    with running("--still", "--balance", "25000") as exchange:
        done = serve_once(exchange, tmp_path)
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert (status["state"], status["exchange_balance"]) == ("READY", "25000")
    assert status["capital_source"] == "e_anchored"


def test_a_wrong_secret_ends_with_6_and_is_not_shown(tmp_path: Path) -> None:
    wrong = "a-secret-that-is-not-the-right-one"
    with running("--still") as exchange:
        done = serve_once(exchange, tmp_path, secret=wrong)
    assert done.returncode == 6
    assert "refused our access" in done.stderr and "100001" in done.stderr
    assert wrong not in done.stdout + done.stderr


def test_the_account_s_other_mode_ends_with_78(tmp_path: Path) -> None:
    with running("--still", "--hedge") as exchange:
        done = serve_once(exchange, tmp_path)
    assert done.returncode == 78
    assert "kernel.hedge = true" in done.stderr


def test_an_exchange_that_is_not_there_ends_with_6(tmp_path: Path) -> None:
    with running("--still") as exchange:
        pass
    done = serve_once(exchange, tmp_path)
    assert done.returncode == 6
    assert "ConnectError" in done.stderr


def test_quick_restarts_do_not_run_into_the_exchange_s_limits(tmp_path: Path) -> None:
    with running("--still") as exchange:
        for _ in range(3):
            done = serve_once(exchange, tmp_path)
            assert done.returncode == 0, done.stderr
