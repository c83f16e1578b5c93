"""Every endpoint in one table, by method and path.

Read by the server alone.
"""

from __future__ import annotations

from typing import Final

from dita.exchange.wire.rest import account_routes, market_routes, trading_routes
from dita.exchange.wire.rest.calls import Routes

ROUTES: Final[Routes] = {**market_routes.ROUTES, **account_routes.ROUTES, **trading_routes.ROUTES}
