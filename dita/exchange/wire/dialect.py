"""How the exchange speaks where sources disagree, and the file that says so with the faults.

Each switch has the newest documented behaviour as its default. Read by every module that writes
bytes; knows none of them.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from dita.contracts import Record
from dita.errors import SettingsError, one_line
from dita.exchange.wire.faults import FaultRule, read_rules
from dita.exchange.wire.limits import LimitRules
from dita.exchange.wire.signing import Strictness

_FILE_BYTES_MAX = 1_000_000


class WireSwitches(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The spellings and generations that a client must cope with (dossier §1.4, §2.1 to §3.3)."""

    strictness: Strictness = Strictness.LENIENT
    order_reply: Literal["flat", "wrapped"] = "flat"  # data, or data.order
    cancel_reply: Literal["wrapped", "flat"] = "wrapped"  # data.order, or data
    key_reply: Literal["empty", "enveloped"] = "empty"  # PUT and DELETE of a listen key
    position_history: Literal["wrapped", "bare"] = "wrapped"  # v1; v2 is always bare
    resting: Literal["PENDING", "NEW"] = "PENDING"  # a LIMIT order that rests, on REST
    cancelled: Literal["CANCELLED", "CANCELED"] = "CANCELLED"  # on REST; the stream says CANCELED
    errors: Literal["new", "old"] = "new"  # the code numbers since, or before, 2025-10-16
    last_fill: bool = False  # `l` and `L` in ORDER_TRADE_UPDATE
    stream_figures: Literal["per_fill", "cumulative"] = "per_fill"  # `n` and `rp`; not established
    config_snapshots: bool = True  # SNAPSHOT with `ac` per symbol on connect and every 5 s
    split_users: bool = False  # two sockets of one listen key get different events
    margin_asset: Literal["USDT", "VST"] = "USDT"


class WireFile(Record, frozen=True, kw_only=True):
    """All that a faults file says."""

    wire: WireSwitches = WireSwitches()
    limits: LimitRules = LimitRules()
    faults: tuple[FaultRule, ...] = ()


def read_file(path: Path) -> WireFile:
    """Read ``[wire]``, ``[limits]`` and every ``[[fault]]`` of a TOML file, or SettingsError."""
    name = one_line(str(path))
    try:
        with path.open("rb") as file:
            document = tomllib.loads(file.read(_FILE_BYTES_MAX).decode("utf-8"))
        unknown = sorted(document.keys() - {"wire", "limits", "fault"})
        if unknown:
            raise ValueError(f"unknown table {unknown[0]}")
        wire: Any = msgspec.convert(document.get("wire", {}), WireSwitches)
        limits: Any = msgspec.convert(document.get("limits", {}), LimitRules)
    except (OSError, ValueError, msgspec.ValidationError) as bad:
        raise SettingsError(
            f"faults file {name} refused",
            expected="a TOML file with [wire], [limits] and [[fault]]",
            found=str(bad),
            action="see runbooks/exchange.md",
        ) from bad
    faults = read_rules(document.get("fault", []), name)
    return WireFile(wire=wire, limits=limits, faults=tuple(faults))
