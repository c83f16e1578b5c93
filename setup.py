"""The compiled extensions and the packages that there are; all else is in pyproject.toml.

DITA_BUILD=trace builds them with line tracing, for coverage of the .pyx (`make trace`).
"""

import os
import sys
from glob import glob

from setuptools import Extension, find_packages, setup

trace = os.environ.get("DITA_BUILD", "") == "trace"


def extension(name: str, *depends: str) -> Extension:
    """One module of dita/ from its .pyx; all are compiled alike."""
    made = Extension(
        f"dita.{name}",
        sources=[f"dita/{name}.pyx"],
        depends=list(depends),
        extra_compile_args=[] if sys.platform == "win32" else ["-O3"],
        # Line tracing on CPython 3.13 and later needs the older of Cython's two ways
        # (SYS_MONITORING).
        define_macros=[("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]
        if trace
        else [],
    )
    # setuptools hands these to Cython. What is not named keeps its safe default: bounds are
    # checked, division by zero raises, an overflow is an error.
    made.cython_directives = {
        "language_level": 3,
        "overflowcheck": True,
        "nonecheck": True,
        "embedsignature": True,
        "linetrace": trace,
    }
    return made


money = ("dita/_kernel.pxd", "dita/_money.h")
kernel = extension("_kernel", *money, *sorted(glob("dita/rules/*.pxi")))
journal = extension("_journal", *money, "dita/_journal.pxd", "dita/_crc32c.h")
digits = extension("_digits", *money)

#: Found, never listed: a new folder of dita/ is installed without anybody remembering it. The
#: others are folders beside it (package-dir in pyproject.toml).
packages = find_packages(include=["dita", "dita.*"])
packages += [f"dita.{name}" for name in find_packages(include=["commands", "commands.*"])]
packages += ["dita.configs", "dita.runbooks"]

setup(ext_modules=[kernel, journal, digits], packages=packages)
