"""The exchange's protocol parts one by one: signing, limits, listen keys, faults, delivery.

None of them opens a socket or reads a clock. The signing vectors are the verified ones of BingX's
own documentation; the requests are spelled as real clients send them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.recordings import RECORDINGS

from dita.errors import SettingsError
from dita.exchange.wire import limits
from dita.exchange.wire.answers import WireError, refusal
from dita.exchange.wire.dialect import read_file
from dita.exchange.wire.faults import (
    ACTS,
    BEFORE,
    FaultKind,
    FaultPlan,
    FaultRule,
    read_rules,
)
from dita.exchange.wire.limits import LimitRules, RateLimiter
from dita.exchange.wire.signing import (
    Credentials,
    Strictness,
    read_request,
    sign,
    verify,
)
from dita.exchange.wire.stream.delivery import Delivery, UserFrame
from dita.exchange.wire.stream.listen_keys import LISTEN_KEY_MS, ListenKeys
from dita.exchange.wire.stream.sockets import Socket, control_answer

SAMPLE_SECRET = (
    "mheO6dR8ovSsxZQCOYEFCtelpuxcWGTfHw7te326y6jOwq5WpvFQ9JNljoTwBXZGv5It07m9RXSPpDQEK2w"
)
ACCOUNT = Credentials("KEY", "SECRET")
HEADERS = {"X-BX-APIKEY": "KEY"}
NOW_MS = 1_795_435_343_000
FORM = "application/x-www-form-urlencoded"
CAPTURES = RECORDINGS / "bingx" / "fixtures" / "request_captures"
ORDER = "/openApi/swap/v2/trade/order"


def code_of(call: Callable[[], object]) -> int:
    """The code a call is refused with; 0 when it is not."""
    try:
        call()
    except WireError as error:
        return error.code
    return 0


# -- SIGNING ------------------------------------------------------------------------------------


def test_documented_signatures_verify() -> None:
    """The two vectors of the official text that are right: a query, and query with body."""
    assert (
        sign(SAMPLE_SECRET, "symbol=BTC-USDT&timestamp=1667872120843&side=LONG&leverage=6")
        == "4f581ecdb1fa09b9d6e57886b6f70cffed17f82b93399722939e49a38edec2bf"
    )
    signature = "8b756b01e7a30f02e19c58a91ab01b29528694316b08a51ecb8dd072942bd47d"
    text = read_request(
        "/x?symbol=BTC-USDT&timestamp=1668159715051",
        f"side=LONG&leverage=6&signature={signature}".encode(),
        FORM,
    )
    account = Credentials("KEY", SAMPLE_SECRET)
    verify(text, HEADERS, account, 1668159715051, Strictness.AS_SENT)
    assert text.values["leverage"] == "6"
    assert text.values["symbol"] == "BTC-USDT"


def query(text: str, signed: str = "") -> str:
    """A path whose query is `text`, signed over `signed` or over itself."""
    return f"/x?{text}&signature={sign(ACCOUNT.secret, signed or text)}"


def verified(path: str, strictness: Strictness, body: bytes = b"", kind: str = "") -> int:
    """The code that a request is refused with; 0 when it is taken."""
    text = read_request(path, body, kind)
    return code_of(lambda: verify(text, HEADERS, ACCOUNT, NOW_MS, strictness))


def test_strictness_tells_the_clients_apart() -> None:
    """Bixpy appends the time last, ccxt sorts: both pass, and a strict server takes only one."""
    bixpy = query(f"side=BUY&symbol=FET-USDT&type=MARKET&timestamp={NOW_MS}")
    ccxt = query(f"side=BUY&symbol=FET-USDT&timestamp={NOW_MS}&type=MARKET")
    unsorted = f"symbol=FET-USDT&side=BUY&timestamp={NOW_MS}"
    resorted = query(unsorted, "&".join(sorted(unsorted.split("&"))))
    taken = {
        rule: [verified(path, rule) == 0 for path in (bixpy, ccxt, resorted)] for rule in Strictness
    }
    assert taken == {
        Strictness.LENIENT: [True, True, True],
        Strictness.AS_SENT: [True, True, False],
        Strictness.SORTED: [False, True, True],
    }


def test_a_query_is_signed_raw_and_a_form_encoded() -> None:
    """batchOrders of ccxt: raw signature, percent-encoded wire; a form is verified as sent."""
    raw = f'batchOrders=[{{"symbol":"FET-USDT"}}]&timestamp={NOW_MS}'
    encoded = f"batchOrders=%5B%7B%22symbol%22%3A%22FET-USDT%22%7D%5D&timestamp={NOW_MS}"
    assert verified(query(encoded, raw), Strictness.LENIENT) == 0
    assert verified(query(encoded, encoded), Strictness.LENIENT) == 100001
    for signed, code in ((encoded, 0), (raw, 100001)):
        body = f"{encoded}&signature={sign(ACCOUNT.secret, signed)}".encode()
        assert verified("/x", Strictness.LENIENT, body, FORM) == code


def test_a_json_body_is_signed_sorted() -> None:
    """Sorted a to z whatever its own order, and the query before it without an ampersand."""
    text = f"leverage=6&side=LONG&timestamp={NOW_MS}"
    fields = {"timestamp": NOW_MS, "side": "LONG", "leverage": 6}
    fields["signature"] = sign(ACCOUNT.secret, text)
    body = msgspec.json.encode(fields)
    assert verified("/x", Strictness.LENIENT, body, "application/json") == 0
    assert code_of(lambda: read_request("/x", b"[1]", "application/json; charset=utf-8")) == 100400


@pytest.mark.parametrize(
    ("age_ms", "window", "code"),
    [
        (5_000, "", 0),
        (5_001, "", 100421),
        (5_001, "6000", 0),
        (60_001, "999999", 100421),  # the largest window that any source gives
        (-5_000, "", 0),
        (-5_001, "", 100421),
        (0, "soon", 100421),
    ],
)
def test_the_time_must_be_within_the_window(age_ms: int, window: str, code: int) -> None:
    """Older than recvWindow or more than 5 s ahead is refused."""
    given = f"recvWindow={window}&" if window else ""
    path = query(f"{given}timestamp={NOW_MS - age_ms}")
    assert verified(path, Strictness.LENIENT) == code


def captured(log: Path) -> list[tuple[str, str, dict[str, str], bytes]]:
    """Method, target, headers and body of every request in a capture that carries a signature."""
    found: list[tuple[str, str, dict[str, str], bytes]] = []
    for block in log.read_text().split(">>> ")[1:]:
        first, *lines = block.splitlines()
        method, target, *_ = first.split(" ")
        headers, body = {}, b""
        for line in map(str.strip, lines):
            if line.startswith("BODY "):
                body = line.removeprefix("BODY ").encode()
            elif ": " in line:
                name, value = line.split(": ", 1)
                headers[name] = value
        if b"signature=" in body or "signature=" in target:
            found.append((method, target, headers, body))
    return found


@pytest.mark.skipif(not CAPTURES.exists(), reason="the captures are not here")
@pytest.mark.parametrize("name", ["ccxt", "ccxtws", "bixpy", "bingx_py", "bingx_python"])
def test_captured_requests_of_five_clients_verify(name: str) -> None:
    """Byte by byte as they were sent, but for one that chose base64 instead of hex."""
    requests = captured(CAPTURES / f"{name}.log")
    assert len(requests) >= 5
    for method, target, headers, body in requests:
        text = read_request(target, body, headers.get("Content-Type", ""))
        sent_ms = int(text.values["timestamp"])
        taken = code_of(lambda t=text, h=headers, at=sent_ms: verify(t, h, ACCOUNT, at))  # type: ignore[misc]
        base64 = text.signature.endswith("=")
        assert taken == (100001 if base64 else 0), (method, target, body)


def test_every_way_to_be_a_stranger() -> None:
    """A wrong key, no signature, a wrong one, one that is no ASCII, and no time."""
    path = query(f"timestamp={NOW_MS}")
    wrong_key = Credentials("OTHER", "SECRET")
    text = read_request(path, b"", "")
    assert code_of(lambda: verify(text, HEADERS, wrong_key, NOW_MS)) == 100413
    assert code_of(lambda: verify(text, {}, ACCOUNT, NOW_MS)) == 100413
    assert verified(f"/x?timestamp={NOW_MS}", Strictness.LENIENT) == 100412
    assert verified(f"{path}0", Strictness.LENIENT) == 100001
    assert verified(f"/x?timestamp={NOW_MS}&signature=%C3%A9", Strictness.LENIENT) == 100001
    assert verified(query("symbol=FET-USDT"), Strictness.LENIENT) == 100421


def test_envelopes_of_errors() -> None:
    """Gateway errors have a time and no data; trading errors an empty data."""
    gateway = refusal(WireError(100001, "no", gateway=True), NOW_MS)
    trading = refusal(WireError(109400, "no"), NOW_MS)
    assert msgspec.json.decode(gateway.body) == {"code": 100001, "msg": "no", "timestamp": NOW_MS}
    assert msgspec.json.decode(trading.body) == {"code": 109400, "msg": "no", "data": {}}


# -- LIMITS -------------------------------------------------------------------------------------


def admitted(limiter: RateLimiter, now_ms: int, method: str = "POST", path: str = ORDER) -> str:
    """Empty when the call is let in, else the message."""
    try:
        limiter.admit(method, path, "127.0.0.1", keyed=True, now_ms=now_ms)
    except WireError as error:
        assert error.code == limiter.rules.code
        assert error.status == limiter.rules.status
        return error.msg
    return ""


def test_an_endpoint_is_blocked_for_five_minutes_with_the_time_in_the_message() -> None:
    """Ten orders a second; the eleventh closes the endpoint, and no other."""
    limiter = RateLimiter(LimitRules(code=100410, status=429))
    start_ms = NOW_MS - NOW_MS % 1_000
    answers = [admitted(limiter, start_ms) for _ in range(11)]
    assert answers[:10] == [""] * 10
    until_ms = start_ms + 300_000
    assert answers[10] == (
        "code:100410:The endpoint trigger frequency limit rule is currently in the disabled"
        f" period and will be unblocked after {until_ms}"
    )
    assert admitted(limiter, until_ms - 1)
    assert not admitted(limiter, start_ms, "DELETE")
    assert not admitted(limiter, until_ms)


def test_the_window_and_its_headers() -> None:
    """What is left and when it ends; a new second starts a new window."""
    limiter = RateLimiter(LimitRules())
    start_ms = NOW_MS - NOW_MS % 1_000
    assert [admitted(limiter, start_ms + n) for n in range(10)] == [""] * 10
    assert limiter.headers("POST", ORDER) == {
        "X-RateLimit-Requests-Remain": "0",
        "X-RateLimit-Requests-Expire": str(start_ms + 1_000),
    }
    assert not admitted(limiter, start_ms + 1_000)
    assert limiter.headers("POST", ORDER)["X-RateLimit-Requests-Remain"] == "9"
    assert RateLimiter(LimitRules(headers=False)).headers("POST", ORDER) == {}


def test_addresses_are_limited_by_group() -> None:
    """500 market calls in 10 s from one address, whatever the endpoints are."""
    limiter = RateLimiter(LimitRules())
    calls = range(limits.MARKET_PER_ADDRESS + 1)
    refused = [
        code_of(
            lambda n=n: limiter.admit("GET", f"/{n}", "::1", keyed=False, now_ms=NOW_MS)  # type: ignore[misc]
        )
        for n in calls
    ]
    assert refused == [0] * limits.MARKET_PER_ADDRESS + [109429]


def test_the_twentieth_equal_error_blocks_the_endpoint() -> None:
    """Nineteen do not, other codes do not count, and the block ends when the first one is old."""
    limiter = RateLimiter(LimitRules())
    for n in range(19):
        limiter.note_error("POST", ORDER, 101204, NOW_MS + n)
    limiter.note_error("POST", ORDER, 101400, NOW_MS)
    assert not admitted(limiter, NOW_MS + 20)
    limiter.note_error("POST", ORDER, 101204, NOW_MS + 20)
    until_ms = NOW_MS + 480_000
    assert admitted(limiter, until_ms - 1) == (
        "over 20 error code:101204 requests within 480000 ms for this api, please verify and fix it"
        f" ,can retry after time: {until_ms}"
    )
    assert not admitted(limiter, until_ms)


def test_old_errors_are_forgotten_and_limits_can_be_off() -> None:
    """An error every 30 s never becomes a storm; without limits nothing is refused."""
    limiter = RateLimiter(LimitRules())
    for n in range(100):
        limiter.note_error("POST", ORDER, 101204, NOW_MS + n * 30_000)
    assert not admitted(limiter, NOW_MS + 3_000_000)
    free = RateLimiter(LimitRules(enabled=False))
    assert [admitted(free, NOW_MS) for _ in range(50)] == [""] * 50


# -- LISTEN KEYS --------------------------------------------------------------------------------


def test_a_listen_key_lives_an_hour_from_its_last_extension() -> None:
    """64 hex digits; at exactly 60 minutes it is gone, and it is told once."""
    keys = ListenKeys(seed=1)
    key, other = keys.mint(0), keys.mint(0)
    assert len(key) == 64
    assert int(key, 16)
    assert key != other
    assert keys.extend(key, LISTEN_KEY_MS - 1)
    assert not keys.extend(other, LISTEN_KEY_MS)
    assert keys.lapsed(LISTEN_KEY_MS) == [other]
    assert keys.lapsed(LISTEN_KEY_MS) == []
    assert keys.alive(key, 2 * LISTEN_KEY_MS - 2)
    assert keys.remove(key, LISTEN_KEY_MS)
    assert not keys.remove(key, LISTEN_KEY_MS)


# -- FAULTS -------------------------------------------------------------------------------------


def hit_calls(rule: FaultRule, calls: int, seed: int = 7) -> list[int]:
    """Which of so many orders, counted from 1, the rule hits."""
    plan = FaultPlan([rule], seed, 0)
    subject = f"POST {ORDER}"
    return [n for n in range(1, calls + 1) if plan.hits(frozenset({rule.kind}), subject, n)]


def test_when_and_how_often() -> None:
    """From the nth call on, so many times, within a time."""
    kind = FaultKind.ANSWER_LOST
    on = "POST */trade/order"
    assert hit_calls(FaultRule(kind=kind), 3) == [1]
    assert hit_calls(FaultRule(kind=kind, on=on, nth=3, times=2), 9) == [3, 4]
    assert hit_calls(FaultRule(kind=kind, on=on, times=0), 4) == [1, 2, 3, 4]
    assert hit_calls(FaultRule(kind=kind, on="GET *"), 4) == []
    assert hit_calls(FaultRule(kind=kind, times=0, from_ms=2, until_ms=4), 9) == [2, 3]


def test_chance_comes_from_the_seed_alone() -> None:
    """The same seed hits the same calls; another one others; about as many as asked for."""
    rule = FaultRule(kind=FaultKind.EVENT_DROPPED, times=0, probability="0.25")
    first = hit_calls(rule, 400)
    assert first == hit_calls(rule, 400)
    assert first != hit_calls(rule, 400, seed=8)
    assert 60 <= len(first) <= 140


def test_acts_come_due_by_themselves() -> None:
    """Without `on` an act waits for its moment, and calls do not move it."""
    rule = FaultRule(kind=FaultKind.LIQUIDATION, symbol="FET-USDT", from_ms=100)
    plan = FaultPlan([rule], 1, NOW_MS)
    assert plan.hits(ACTS, f"POST {ORDER}", NOW_MS + 100) == []
    assert plan.due(NOW_MS + 99) == []
    assert plan.due(NOW_MS + 100) == [rule]
    assert plan.due(NOW_MS + 101) == []
    rare = FaultRule(kind=FaultKind.HALF_OPEN, probability="0.000000001")
    plan.add([rare])
    assert [plan.due(NOW_MS + n) for n in range(100)] == [[]] * 100
    assert plan.counts()[1]["seen"] == 1
    plan.add([FaultRule(kind=FaultKind.REFUSED)])
    assert [each["hits"] for each in plan.counts()] == [1, 0, 0]
    plan.clear()
    assert plan.hits(BEFORE, f"POST {ORDER}", NOW_MS) == []


@pytest.mark.parametrize(
    "bad",
    [
        [{"kind": "explosion"}],
        [{"kind": "refused", "whenever": 3}],
        [{"kind": "refused", "probability": "1.5"}],
        [{"kind": "price_bound", "ratio": "x"}],
        [{"kind": "half_open", "times": 0}],
        [{"kind": "foreign_order", "symbol": "FET-USDT", "side": "UP", "quantity": "1"}],
        {"kind": "refused"},
    ],
)
def test_a_wrong_rule_is_refused_before_anything_runs(bad: object) -> None:
    """The message says where it was."""
    with pytest.raises(SettingsError, match=r"faults in f\.toml"):
        read_rules(bad, "f.toml")


def test_a_faults_file(tmp_path: Path) -> None:
    """Switches, limits and faults; an unknown table or switch is an error."""
    path = tmp_path / "f.toml"
    path.write_text(
        '[wire]\norder_reply = "wrapped"\nstrictness = "as-sent"\n[limits]\nenabled = false\n'
        '[[fault]]\nkind = "answer_lost"\nnth = 2\n'
    )
    read = read_file(path)
    assert read.wire.strictness is Strictness.AS_SENT
    assert read.wire.order_reply == "wrapped"
    assert not read.limits.enabled
    assert read.faults == (FaultRule(kind=FaultKind.ANSWER_LOST, nth=2),)
    for wrong in ("[wires]\n", "[wire]\nspeed = 1\n", "[limits]\nenabled = 3\n", "fault = ["):
        path.write_text(wrong)
        with pytest.raises(SettingsError, match="faults file"):
            read_file(path)


# -- DELIVERY -----------------------------------------------------------------------------------


def sent_with(rules: list[dict[str, Any]], frames: list[UserFrame]) -> list[tuple[int, Any]]:
    """When each event arrives and what it says; one is pushed every 10 ms, and time goes on."""
    out: list[tuple[int, Any]] = []
    plan = FaultPlan(read_rules(rules, "test"), 1, 0)
    delivery = Delivery(
        plan, lambda payload, now_ms: out.append((now_ms, msgspec.json.decode(payload)))
    )
    for n, frame in enumerate(frames):
        delivery.pulse(n * 10)
        delivery.push(frame, n * 10)
    for now_ms in range(len(frames) * 10, 1_000, 10):
        delivery.pulse(now_ms)
    return out


def numbered(count: int) -> list[UserFrame]:
    """So many order events."""
    return [UserFrame("ORDER_TRADE_UPDATE", "FILLED", {"n": n}) for n in range(count)]


@pytest.mark.parametrize(
    ("rule", "arrivals"),
    [
        ({"kind": "event_dropped", "nth": 2}, [(0, 0), (20, 2)]),
        ({"kind": "event_duplicated"}, [(0, 0), (0, 0), (10, 1), (20, 2)]),
        ({"kind": "event_delayed", "ms": 15}, [(10, 1), (20, 0), (20, 2)]),
        ({"kind": "event_reordered", "nth": 2}, [(0, 0), (20, 2), (20, 1)]),
        ({"kind": "event_reordered", "nth": 3, "ms": 50}, [(0, 0), (10, 1), (70, 2)]),
        ({"kind": "event_dropped", "on": "ACCOUNT*"}, [(0, 0), (10, 1), (20, 2)]),
    ],
)
def test_events_on_their_way(rule: dict[str, Any], arrivals: list[tuple[int, int]]) -> None:
    """Dropped, doubled, late, overtaken by the next or, when none comes, only late."""
    assert [(at, body["n"]) for at, body in sent_with([rule], numbered(3))] == arrivals


def order_frame(**fields: str) -> UserFrame:
    """A filled order's event."""
    body = {"o": "MARKET", "S": "BUY", "p": "0.50000000", "l": "1", "L": "0.5", **fields}
    return UserFrame("ORDER_TRADE_UPDATE", "FILLED", {"e": "ORDER_TRADE_UPDATE", "o": body})


def test_spoilt_content() -> None:
    """A bound in `p` on the taker's side, no last fill, and a wallet of zero."""
    bound = {"kind": "price_bound", "times": 0, "ratio": "0.2"}
    frames = [order_frame(), order_frame(S="SELL"), order_frame(o="LIMIT"), order_frame(p="")]
    prices = [body["o"]["p"] for _, body in sent_with([bound], frames)]
    assert prices == ["0.60000000", "0.40000000", "0.50000000", ""]
    (_, body), *_ = sent_with([{"kind": "last_fill_missing"}], [order_frame()])
    assert body["o"].keys().isdisjoint({"l", "L"})
    account = {"a": {"m": "ORDER", "B": [{"a": "USDT", "wb": "5.1", "cw": "5.1", "bc": "0"}]}}
    frames = [order_frame(), UserFrame("ACCOUNT_UPDATE", "ORDER", account)]
    _, (_, body) = sent_with([{"kind": "zero_balance"}], frames)
    assert body["a"]["B"] == [{"a": "USDT", "wb": "0.00000000", "cw": "0.00000000", "bc": "0"}]


def test_silent_triggers() -> None:
    """Only events of orders that were triggered stay away."""
    frames = [*numbered(1), UserFrame("ORDER_TRADE_UPDATE", "FILLED", {"n": 1}, triggered=True)]
    sent = sent_with([{"kind": "trigger_silent", "times": 0}], frames)
    assert [body["n"] for _, body in sent] == [0]


# -- SUBSCRIPTIONS ------------------------------------------------------------------------------


class NoWire:
    """A wire that carries nothing."""

    async def send_bytes(self, frame: bytes) -> None:
        """Nowhere."""

    async def texts(self) -> AsyncIterator[str]:
        for text in tuple[str, ...]():
            yield text

    def abort(self) -> None:
        """It was never open."""


def test_a_socket_has_room_for_200_topics() -> None:
    """The next one is refused, one that is there already is not, and leaving makes room."""
    socket = Socket(NoWire(), "", NOW_MS)

    def code(topic: str, wish: str = "sub") -> int:
        text = msgspec.json.encode({"id": "1", "reqType": wish, "dataType": topic}).decode()
        ack, _ = control_answer(socket, text, lambda name: True)
        return int(msgspec.json.decode(ack)["code"])

    assert [code(f"{n}@trade") for n in range(201)] == [0] * 200 + [80403]
    assert code("7@trade") == 0
    assert code("7@trade", "unsub") == 0
    assert code("200@trade") == 0
