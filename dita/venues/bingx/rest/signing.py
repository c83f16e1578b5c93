"""Signed query strings as BingX checks them.  It must not know endpoints, clocks or sockets."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

#: Header with the API key (dossier §1.2).
KEY_HEADER: Final = "X-BX-APIKEY"


def signature(secret: str, text: str) -> str:
    """Lowercase hex HMAC-SHA256 of the text exactly as it is."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def canonical(parameters: Mapping[str, str]) -> str:
    """The text that is signed: sorted by name, raw values (dossier §1.2).

    The exchange is documented once as checking the sorted text and once as checking it as sent;
    sent in the order in which it was sorted, both are the same.
    """
    return "&".join(f"{name}={parameters[name]}" for name in sorted(parameters))


def signed_query(parameters: Mapping[str, str], secret: str) -> str:
    """The query string for the wire: values percent-encoded (a space is %20), signature last."""
    wire = "&".join(f"{name}={quote(parameters[name], safe='')}" for name in sorted(parameters))
    return f"{wire}&signature={signature(secret, canonical(parameters))}"
