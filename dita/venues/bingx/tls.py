"""Whose certificates are trusted: one store for REST and stream, from the settings or certifi.

The environment has no say in it: a variable may name neither another store nor a file for the
session's keys.
"""

from __future__ import annotations

import ssl

import certifi

from dita.errors import SettingsError


def trusting(store: str = "") -> ssl.SSLContext:
    """Returns a context that verifies certificate and host name against a PEM file, else certifi's.

    SettingsError when the file cannot be read.
    """
    # Not ssl.create_default_context: it writes the session's keys to the file in SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=store or certifi.where())
    except (OSError, ssl.SSLError) as bad:
        raise SettingsError(
            "trust store refused",
            expected="a readable PEM file with certificates",
            found=f"{store}: {bad}",
            action="correct venue.trust_store, or leave it out",
        ) from bad
    return context
