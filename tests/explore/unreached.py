"""Cells of the transition table that no world reaches, each with the reason why."""

from __future__ import annotations

from typing import Final

UNREACHED: Final[dict[str, str]] = {}
