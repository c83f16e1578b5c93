"""A status record as serve gives it, for the tests of boards."""

from __future__ import annotations

from typing import Any

from dita.runtime.operations.status import slot_row
from support.engine_driver import SHORT, Desk

PLACE = {
    "venue": "bingx", "money": "live", "host": "https://open-api.bingx.com", "key": "env:KEY",
    "namespace": "test", "directory": "/var/lib/pink", "config": "/etc/pink/pink.toml",
}  # fmt: skip


def fet(**fields: Any) -> Desk:
    """A desk that is short of FET-USDT."""
    desk = Desk()
    desk.open(202276, "0.1878", side=SHORT, trade="fet-2026-06-11", **fields)
    return desk


def record(desk: Desk) -> dict[str, Any]:
    """A status record as serve would tell it: all is well."""
    return {
        "state": "READY", "namespace": "test", "capital": "100000.123456", "trades": 3,
        "capital_source": "e_anchored", "exchange_balance": "100000.1234", "equity": "100001",
        "realized": "-31.2084", "fees": "0.5", "funding": "0", "k_capital": "100000.1",
        "drift": "0.02", "drift_status": "WARN", "drift_by_cause": {"pending_fee": "0.02"},
        "journal": {"records": 9, "bytes": 5 * 2**20, "free_bytes": 2**31, "reserve_bytes": 2**20},
        "entries": {"allowed": True, "wait_for": []}, "entries_frozen": [], "held_because": "",
        "held_symbols": [], "limits": {}, "foreign": [], "orders": [], "orders_refused": [],
        "alarms": [], "queries_failing": [], "open_orders": 0, "held_events": 0, "venue": {},
        "exposure": {"positions": 1, "notional": "37987.4328", "leverage": "0.379873",
                     "margin": "12662.4776", "available_margin": "87337.6458"},
        "fee_check": {"state": "OK", "text": ""}, "log": {"lost_lines": 0, "trouble": ""},
        "slots": [slot_row(slot) for slot in desk.engine.kernel.active_slots()],
        "age_ms": {"stream": 1_200, "balance": 9_900, "positions": 22_000, "last_input": 1_234},
        "version": "1.2.3", "pid": 777, "uptime_ms": 11_100_000, "place": PLACE,
        "wall_ms": 1_781_198_532_678,
    }  # fmt: skip
