"""`pink-ctl exchange`: a local exchange that BingX clients take for the real one.

Reads the options, starts the server, prints where it is; what an exchange does it does not know.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .show.render import SCHEMA_VERSION, show

if TYPE_CHECKING:
    from dita.exchange.server import ExchangeServer

Port = Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")]
Seed = Annotated[int, typer.Option(help="Seed of prices, listen keys and faults.")]
TapeName = Annotated[
    str, typer.Option("--tape", metavar="FILE", help="Prices from a CSV file, or a packaged tape.")
]
FaultsFile = Annotated[
    Path | None,
    typer.Option("--faults", metavar="FILE", help="TOML file with switches, limits and faults."),
]
Symbols = Annotated[
    list[str] | None,
    typer.Option("--symbol", metavar="SYMBOL", help="List only this symbol; may be repeated."),
]
Key = Annotated[str, typer.Option(help="API key of the account.")]
Secret = Annotated[str, typer.Option(help="Its secret; never that of a real account.")]
Wallet = Annotated[
    str, typer.Option("--balance", metavar="USDT", help="USDT in the wallet at the start.")
]
Hedge = Annotated[bool, typer.Option("--hedge", help="Start in hedge mode instead of one-way.")]
Speed = Annotated[int, typer.Option(min=1, help="Play the tape this many times as fast.")]
Still = Annotated[bool, typer.Option("--still", help="Without a tape: prices do not move.")]

AsJson = Annotated[bool, typer.Option("--json", help="No effect: it prints JSON in any case.")]


def exchange(
    port: Port = 0,
    seed: Seed = 1,
    tape: TapeName = "",
    faults: FaultsFile = None,
    symbol: Symbols = None,
    key: Key = "KEY",
    secret: Secret = "SECRET",
    balance: Wallet = "100000",
    hedge: Hedge = False,
    speed: Speed = 1,
    still: Still = False,
    as_json: AsJson = False,
) -> None:
    """Run a local exchange that speaks BingX's protocol.

    It prints one line of JSON with its addresses when it is ready, and runs until
    SIGTERM or Ctrl-C. Only this machine can reach it.

    \b
    Examples:
      pink-ctl exchange --port 8300 --seed 7
      pink-ctl exchange --tape twenty-minutes --speed 20 --symbol FET-USDT
      pink-ctl exchange --faults faults.toml --balance 25000 --hedge
    """
    import asyncio

    from dita.clock import SystemClock
    from dita.errors import SettingsError, UsageError
    from dita.exchange.app import Setup, run, server_of
    from dita.exchange.wire.dialect import WireFile, read_file
    from dita.units import parse_money

    setup = Setup(
        port=port,
        seed=seed,
        key=key,
        secret=secret,
        symbols=tuple(symbol or ()),
        wallet=parse_money(balance, field="balance"),
        hedge=hedge,
        tape=tape,
        speed=speed,
        still=still,
        wire=read_file(faults) if faults else WireFile(),
    )
    try:
        server = server_of(setup, SystemClock())
    except SettingsError as bad:  # of what was typed: no file is read in there but the tape
        raise UsageError(
            bad.what, expected=bad.expected, found=bad.found, action=bad.action
        ) from bad
    asyncio.run(run(server, _say_ready))


def _say_ready(server: ExchangeServer) -> None:
    addresses = {"rest": server.rest_url, "stream": server.stream_url}
    show(json.dumps({"schema_version": SCHEMA_VERSION, **addresses}))
