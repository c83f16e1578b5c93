"""Our view beside the exchange's: what differs, why, and what to do about it.

``compare`` sets two frozen views side by side, ``plan_of`` makes a plan of the differences, both
pure.  The runtime builds the views and carries the plan out; nothing here knows a venue, a kernel,
a clock or a file.
"""

from dita.reconcile.comparing import compare
from dita.reconcile.planning import (
    PLAN_MAX_AGE_MS,
    TOLD_ONLY,
    Plan,
    Step,
    StepKind,
    check_flat,
    check_plan,
    fingerprint,
    plan_of,
    read_plan,
)
from dita.reconcile.views import (
    Cause,
    Comparison,
    Level,
    OurMoney,
    OurOrder,
    OurPosition,
    OurView,
    Row,
    TheirOrder,
    TheirPosition,
    TheirView,
)

__all__ = [
    "PLAN_MAX_AGE_MS",
    "TOLD_ONLY",
    "Cause",
    "Comparison",
    "Level",
    "OurMoney",
    "OurOrder",
    "OurPosition",
    "OurView",
    "Plan",
    "Row",
    "Step",
    "StepKind",
    "TheirOrder",
    "TheirPosition",
    "TheirView",
    "check_flat",
    "check_plan",
    "compare",
    "fingerprint",
    "plan_of",
    "read_plan",
]
