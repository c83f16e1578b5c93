"""Entry of ``python -m dita.venues.remote``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from dita.errors import AlreadyRunning, SettingsError
from dita.venues.remote.server import read_config, serve


def main() -> None:
    """Serve what the config file says on the socket."""
    parser = argparse.ArgumentParser(prog="python -m dita.venues.remote")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args()
    try:
        config = read_config(options.config)
        asyncio.run(serve(options.socket, config))
    except (SettingsError, AlreadyRunning) as bad:
        sys.stderr.write(f"{bad}\n")
        raise SystemExit(int(bad.exit_code)) from bad


if __name__ == "__main__":
    main()
