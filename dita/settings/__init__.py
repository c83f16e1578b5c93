"""Settings: a TOML file under environment variables under options, as one frozen record.

The runtime and `pink-ctl config show` call `load`; nobody else reads a file or a variable for a
setting, and what is wrong is refused (SettingsError, exit 78) with the key, the place it came from
and what is allowed.  It must not know what the settings do.

    kernel.slot_limit    in a file: [kernel] slot_limit = 16
                         as a variable: PINK__KERNEL__SLOT_LIMIT=16

Money is decimal text in the file and an int of 10^-18 in the record; a float is refused.
"""

from dita.settings.agreement import account_of, fallback_url
from dita.settings.merging import load
from dita.settings.names import ALIASES
from dita.settings.schema import (
    AccountSettings,
    AlertSettings,
    JournalSettings,
    KernelSettings,
    LogFormat,
    LogSettings,
    RuntimeSettings,
    Setting,
    Settings,
    VenueEnvironment,
    VenueKind,
    VenueSettings,
)
from dita.settings.secret import Secret

__all__ = [
    "ALIASES",
    "AccountSettings",
    "AlertSettings",
    "JournalSettings",
    "KernelSettings",
    "LogFormat",
    "LogSettings",
    "RuntimeSettings",
    "Secret",
    "Setting",
    "Settings",
    "VenueEnvironment",
    "VenueKind",
    "VenueSettings",
    "account_of",
    "fallback_url",
    "load",
]
