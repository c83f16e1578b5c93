"""What a process that holds keys does without: core dumps and being looked into.

Called before the first key is read.  It makes nothing safe that the operating system's superuser
wants to read.
"""

from __future__ import annotations

import ctypes
import resource
from typing import Final

#: Of prctl(2), linux/prctl.h: whether this process may be dumped, and attached to by its own user.
_PR_SET_DUMPABLE: Final = 4


def keep_no_core() -> None:
    """No core dump of this process, neither as a file nor through a pipe to a crash reporter.

    The limit alone does not reach a crash reporter that /proc/sys/kernel/core_pattern pipes to.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
