"""BingX's rate limits: per account and endpoint, per address and group, and the error storm.

Counts calls in fixed windows and refuses with the times written into the message, as the exchange
does (dossier §1.5). Takes the time as an argument; knows no HTTP.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Final

from dita.contracts import Record
from dita.exchange.wire.answers import WireError

_SWAP: Final = "/openApi/swap/v2"
_ORDER: Final = f"{_SWAP}/trade/order"

# Calls per second and account (dossier §1.5; where two sources disagree, the newer official text).
PER_ACCOUNT: Final[dict[tuple[str, str], int]] = {
    ("POST", _ORDER): 10,
    ("DELETE", _ORDER): 5,
    ("GET", _ORDER): 30,
    ("POST", f"{_SWAP}/trade/batchOrders"): 5,
    ("DELETE", f"{_SWAP}/trade/batchOrders"): 5,
    ("DELETE", f"{_SWAP}/trade/allOpenOrders"): 5,
    ("GET", f"{_SWAP}/trade/openOrders"): 5,
    ("GET", f"{_SWAP}/trade/allOrders"): 5,
    ("GET", f"{_SWAP}/trade/allFillOrders"): 5,
    ("GET", f"{_SWAP}/trade/fillHistory"): 5,
    ("GET", "/openApi/swap/v3/user/balance"): 5,
    ("GET", f"{_SWAP}/user/balance"): 5,
    ("GET", f"{_SWAP}/user/positions"): 10,
    ("GET", f"{_SWAP}/user/income"): 5,
    ("GET", f"{_SWAP}/trade/leverage"): 5,
    ("POST", f"{_SWAP}/trade/leverage"): 5,
    ("GET", f"{_SWAP}/trade/marginType"): 2,
    ("POST", f"{_SWAP}/trade/marginType"): 2,
    ("GET", "/openApi/swap/v1/positionSide/dual"): 2,
    ("GET", f"{_SWAP}/user/commissionRate"): 5,
    ("POST", f"{_SWAP}/trade/cancelAllAfter"): 1,
    ("POST", "/openApi/user/auth/userDataStream"): 2,
    ("PUT", "/openApi/user/auth/userDataStream"): 2,
    ("DELETE", "/openApi/user/auth/userDataStream"): 2,
    ("POST", "/openApi/swap/v1/trade/getVst"): 1,
}

# Calls per 10 s from one address: the market group, the account group, an endpoint of the latter.
MARKET_PER_ADDRESS: Final = 500
ACCOUNT_PER_ADDRESS: Final = 2_000
ENDPOINT_PER_ADDRESS: Final = 300

#: Errors that say of themselves that somebody was too fast; they are not counted again.
LIMIT_CODES: Final = (100410, 109429)
_SECOND_MS: Final = 1_000
_TEN_SECONDS_MS: Final = 10_000
STORM_ERRORS: Final = 20
STORM_WINDOW_MS: Final = 480_000


class LimitRules(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the limiter behaves. ``code`` is 100410 or, since 2025-10, 109429."""

    enabled: bool = True
    code: int = 109429
    status: int = 200  # or 429; which one is live is not established
    block_ms: int = 300_000  # "lifts after 5 minutes"
    headers: bool = True


class _Window:
    """Calls since the window began."""

    __slots__ = ("count", "ends_ms")

    def __init__(self) -> None:
        self.count = 0
        self.ends_ms = 0


class RateLimiter:
    """Who called what how often; one for the whole exchange, as there is one account."""

    def __init__(self, rules: LimitRules) -> None:
        self.rules = rules
        self._windows: defaultdict[tuple[str, ...], _Window] = defaultdict(_Window)
        self._blocked: dict[tuple[str, str], tuple[int, str]] = {}
        self._errors: defaultdict[tuple[str, str, int], deque[int]] = defaultdict(deque)

    def admit(self, method: str, path: str, address: str, *, keyed: bool, now_ms: int) -> None:
        """Count a call, or refuse it with WireError: it was not executed."""
        if not self.rules.enabled:
            return
        endpoint = (method, path)
        until_ms, message = self._blocked.get(endpoint, (0, ""))
        if now_ms < until_ms:
            raise WireError(self.rules.code, message, status=self.rules.status, gateway=True)
        for name, limit, span_ms in self._limits_of(endpoint, address, keyed=keyed):
            window = self._window(name, span_ms, now_ms)
            window.count += 1
            if window.count > limit:
                self._block(endpoint, now_ms)

    def _limits_of(
        self, endpoint: tuple[str, str], address: str, *, keyed: bool
    ) -> list[tuple[tuple[str, ...], int, int]]:
        if not keyed:
            return [(("market", address), MARKET_PER_ADDRESS, _TEN_SECONDS_MS)]
        limits: list[tuple[tuple[str, ...], int, int]] = [
            (("account", address), ACCOUNT_PER_ADDRESS, _TEN_SECONDS_MS),
            (("endpoint", address, *endpoint), ENDPOINT_PER_ADDRESS, _TEN_SECONDS_MS),
        ]
        if endpoint in PER_ACCOUNT:
            limits.append((("uid", *endpoint), PER_ACCOUNT[endpoint], _SECOND_MS))
        return limits

    def _window(self, name: tuple[str, ...], span_ms: int, now_ms: int) -> _Window:
        window = self._windows[name]
        if now_ms >= window.ends_ms:
            window.count = 0
            window.ends_ms = now_ms - now_ms % span_ms + span_ms
        return window

    def _block(self, endpoint: tuple[str, str], now_ms: int) -> None:
        until_ms = now_ms + self.rules.block_ms
        message = (
            f"code:{self.rules.code}:The endpoint trigger frequency limit rule is currently in the"
            f" disabled period and will be unblocked after {until_ms}"
        )
        self._blocked[endpoint] = (until_ms, message)
        raise WireError(self.rules.code, message, status=self.rules.status, gateway=True)

    def note_error(self, method: str, path: str, code: int, now_ms: int) -> None:
        """Count a business error; the twentieth equal one within 8 minutes blocks the endpoint."""
        if not self.rules.enabled or code in (0, *LIMIT_CODES):
            return
        times = self._errors[method, path, code]
        times.append(now_ms)
        while times[0] <= now_ms - STORM_WINDOW_MS:
            times.popleft()
        if len(times) >= STORM_ERRORS:
            until_ms = times[0] + STORM_WINDOW_MS
            times.clear()
            message = (
                f"over {STORM_ERRORS} error code:{code} requests within {STORM_WINDOW_MS} ms for"
                f" this api, please verify and fix it ,can retry after time: {until_ms}"
            )
            self._blocked[method, path] = (until_ms, message)

    def headers(self, method: str, path: str) -> dict[str, str]:
        """What is left of the endpoint's window, and when it ends; empty where nothing is told."""
        if not (self.rules.enabled and self.rules.headers and (method, path) in PER_ACCOUNT):
            return {}
        window = self._windows["uid", method, path]
        left = max(PER_ACCOUNT[method, path] - window.count, 0)
        return {
            "X-RateLimit-Requests-Remain": str(left),
            "X-RateLimit-Requests-Expire": str(window.ends_ms),
        }

    def lift(self) -> None:
        """Forget all calls, errors and blocks."""
        self._windows.clear()
        self._blocked.clear()
        self._errors.clear()
