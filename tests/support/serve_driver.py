"""A scripted session of a real serve that may be killed anywhere, and what is left at its end.

The venue is served on a socket by this process, so it outlives every serve; the script is what an
alpha side does: it repeats an intent until it was answered, and goes on when the status shows what
it waits for.  It starts serve again whenever that has died.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dita.contracts import VenueOrderStatus
from dita.journal import JournalReader, SnapshotStore
from dita.runtime.failpoints import VARIABLE
from dita.units import parse_price, parse_quantity
from dita.venues import OrderRef
from dita.venues.mock import Book, MockVenue, Rule, fet_config
from dita.venues.remote import ServeConfig, Server

COMMAND = [sys.executable, "-P", "-m", "dita.commands"]
#: A line of serve's log that says that it has come up.
IS_UP = re.compile(r" STATE +(READY|HOLD): ")
#: The venue's clock is decades behind: its order ids then count from 1 in every run, and whatever
#: compares its time with ours is found out.
CLOCK_SKEW_MS = -1_000_000_000_000
PATIENCE_S = 60.0
#: What a serve answers in the moment before it is gone.
LOOP_HAS_ENDED = "the loop has ended"
SETTINGS = """
[venue]
kind = "remote"
environment = "mock"
mock_socket = "{socket}"
absence_fence_s = 1
[kernel]
namespace = "test"
slot_limit = 4
[runtime]
tick_ms = 20
in_flight_check_s = 1
drain_limit_s = 5
crash_budget = 100
[journal]
segment_bytes = 65536
reserve_bytes = 65536
snapshot_every = 25
"""


class Strace(NamedTuple):
    """A serve whose system calls go wrong, and the code that it then has to end with."""

    inject: str
    code: int = -signal.SIGKILL
    output: str = "/dev/null"

    def words(self) -> list[str]:
        call = self.inject.partition(":")[0]
        # -D: strace is the grandchild, so that the process we know is serve itself.
        options = ["-D", "-f", "-o", self.output, "-e", f"trace={call},pwrite64,fdatasync"]
        return ["strace", *options, "-e", f"inject={self.inject}"]


class Gone(Exception):
    """The serve that was asked has died, or dies."""


@contextlib.asynccontextmanager
async def venue_at(path: Path, *rules: Rule, **changes: Any) -> AsyncIterator[MockVenue]:
    """A mock venue behind a socket, in this process."""
    config = fet_config(
        parts=2, receive_window_ms=50, clock_skew_ms=CLOCK_SKEW_MS, rules=rules, **changes
    )
    server = Server(ServeConfig(mock=config))
    await server.start(path)
    try:
        yield server.venue
    finally:
        await server.stop()


def journalled(state: Path) -> set[str]:
    """Client ids of every order that the journal of a state directory has, right now."""
    if not list((state / "journal").glob("journal-*.seg")):
        return set()
    reader = JournalReader.open(state / "journal")
    engine = reader.epoch.engine()
    reader.replay_into(engine)
    trades = engine.kernel.trades()
    return {o.client_order_id for t in trades for o in engine.kernel.orders_of(t.trade_no)}


class Serve:
    """The serve of a folder: started again whenever it is gone, with the next of the plans."""

    def __init__(self, folder: Path, socket: Path, venue: MockVenue, *plans: str | Strace) -> None:
        self.venue = venue
        self.folder = folder
        self.state = folder / "state"
        self.config = folder / "pink.toml"
        self.config.write_text(SETTINGS.format(socket=socket))
        self.plans = list(plans)
        self.kills = 0
        self.code = -signal.SIGKILL
        self.noted = False
        self.process: asyncio.subprocess.Process | None = None
        self.said = b""
        self.last_words = ""

    async def up(self) -> None:
        """Wait until a serve is READY; Gone when it died before."""
        if self.process is not None and self.process.returncode is None:
            return
        if self.process is not None and not self.noted:
            await self.gone()
        environ = {k: v for k, v in os.environ.items() if k != VARIABLE}
        plan = self.plans.pop(0) if self.plans else ""
        prefix: list[str] = []
        self.code = -signal.SIGKILL
        if isinstance(plan, Strace):
            prefix, self.code = plan.words(), plan.code
        elif plan:
            environ[VARIABLE] = plan
        self.process = await asyncio.create_subprocess_exec(
            *prefix, *COMMAND, "serve",
            "--config", str(self.config), "--state-dir", str(self.state),
            stderr=asyncio.subprocess.PIPE, env=environ,
        )  # fmt: skip
        assert self.process.stderr is not None
        self.said, self.noted = b"", False
        while line := await self.process.stderr.readline():
            self.said += line
            if IS_UP.search(line.decode()):
                return
        await self.gone()
        raise Gone

    async def gone(self) -> None:
        """Take note of a death: it has to be the one that was planned."""
        assert self.process is not None
        code = await self.process.wait()
        self.noted = True
        self.last_words = (self.said + await self._rest()).decode()
        assert code == self.code, (code, self.last_words)
        sent = {order.client_order_id for order in self.venue.book.orders}
        assert sent <= journalled(self.state), "the venue has an order that no journal has"
        self.kills += 1

    async def _rest(self) -> bytes:
        assert self.process is not None and self.process.stderr is not None
        return await self.process.stderr.read()

    async def call(self, **request: Any) -> dict[str, Any]:
        """Ask it what it may not refuse; Gone when there is no answer, or when it is ending."""
        answer = await self.ask(**request)
        if answer.get("message") == "the loop has ended":
            await self.gone()
            raise Gone
        assert answer["ok"], answer
        return answer

    async def ask(self, **request: Any) -> dict[str, Any]:
        """Ask it; Gone when there is no answer."""
        await self.up()
        path = str(self.state / "control.sock")
        try:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(json.dumps(request).encode() + b"\n")
            line = await reader.readline()
            writer.close()
        except OSError:
            line = b""
        if not line:
            await self.gone()
            raise Gone
        answer: dict[str, Any] = json.loads(line)
        if answer.get("message") == LOOP_HAS_ENDED:
            await self.gone()
            raise Gone
        return answer

    async def patiently(self, what: str, once: Callable[[], Awaitable[Any]]) -> Any:
        """Try until it says something true; start serve again in between."""
        end = time.monotonic() + PATIENCE_S
        found: Any = None
        while time.monotonic() < end:
            try:
                found = await once()
            except Gone:
                continue
            if found:
                return found
            await asyncio.sleep(0.02)
        raise AssertionError(f"never: {what}; {await self.call(verb='status')}")

    async def status(self) -> dict[str, Any]:
        """The status record."""
        record: dict[str, Any] = (await self.call(verb="status"))["status"]
        return record

    async def until(self, what: str, true: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the status shows it."""

        async def once() -> bool:
            return true(await self.status())

        await self.patiently(what, once)

    async def intent(self, name: str, command: int, **fields: Any) -> str:
        """Send an intent until it is answered with yes, or known already; the code."""
        body = {"command": command, "intent_id": name, **fields}

        async def once() -> str:
            answer = await self.call(verb="intent", intent=body, operator="test", reason="test")
            if answer["accepted"] or answer["code"] == "DUPLICATE_EVENT":
                return str(answer["code"])
            assert answer["code"] in ("ANCHOR_NOT_QUIET", "BALANCE_STALE"), answer
            return ""

        return str(await self.patiently(name, once))

    async def stop(self) -> None:
        """SIGTERM; started again and stopped again while it is killed on the way."""

        async def once() -> bool:
            await self.up()
            assert self.process is not None
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            if await self.process.wait() == 0:
                return True
            await self.gone()
            raise Gone

        await self.patiently("stopped", once)

    async def kill(self) -> None:
        """The end of a test that failed."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


# -- a disk that gets full -------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(disk: Path) -> Path:
    """A file that takes all that is left."""
    path = disk / "filler"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))
    return path


# -- the session -----------------------------------------------------------------------------------

ENTER, EXIT, CANCEL = 1, 2, 3
FET, TRX = "FET-USDT", "TRX-USDT"


def sizes(record: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """State and size of each trade that has a slot."""
    return {slot["trade"]: (slot["state"], slot["size"]) for slot in record["slots"]}


def shows(**trades: tuple[str, str]) -> Callable[[dict[str, Any]], bool]:
    return lambda record: sizes(record) == trades


def is_over(record: dict[str, Any]) -> bool:
    same = {record["capital"], record["k_capital"], record["exchange_balance"]}
    return not record["slots"] and not record["open_orders"] and len(same) == 1


def entry(trade: str, asset: str, side: int, size: str, limit: str) -> dict[str, Any]:
    return {
        "trade_id": trade,
        "asset": asset,
        "side": side,
        "quantity_e8": parse_quantity(size),
        "reference_price_e10": parse_price(limit),
        "order_type": 1,
        "limit_price_e10": parse_price(limit),
        "exit_leg_ratios_e9": [500_000_000, 1_000_000_000],
        "expires_ms": time.time_ns() // 1_000_000 + 600_000,
    }


async def fill(venue: MockVenue, asset: str, size: str) -> None:
    """Fill the working order of a symbol."""
    (order,) = (o for o in venue.book.orders if o.works and o.asset == asset)
    venue.fill(OrderRef(asset=asset, client_order_id=order.client_order_id), parse_quantity(size))


async def entered(serve: Serve, venue: MockVenue, name: str, fields: dict[str, Any]) -> None:
    """An entry that works at the venue.

    One that was never sent is proven absent after a restart while the gate for new risk is shut:
    it is given up, and whoever wants it enters again.
    """
    names = itertools.count(1)
    await serve.intent(name, ENTER, **fields)

    async def once() -> bool:
        if await rests(serve, venue, fields["asset"]):
            return True
        record = await serve.status()
        if record["ready"] and fields["trade_id"] not in sizes(record):
            await serve.intent(f"{name}-again-{next(names)}", ENTER, **fields)
        return False

    await serve.patiently(f"{fields['trade_id']} rests", once)


async def session(serve: Serve, venue: MockVenue) -> None:
    """Two entries with partial fills, one of them taken back, and exits by legs until flat."""
    working, opened = "ENTRY_WORKING", "POSITION_OPEN"
    await entered(serve, venue, "enter-1", entry("T1", FET, -1, "1000", "0.55"))
    await fill(venue, FET, "400")
    await serve.until("part of T1", shows(T1=(working, "400")))
    await fill(venue, FET, "600")
    await serve.until("all of T1", shows(T1=(opened, "1000")))
    await entered(serve, venue, "enter-2", entry("T2", TRX, 1, "500", "0.25"))
    await fill(venue, TRX, "200")
    await serve.until("part of T2", shows(T1=(opened, "1000"), T2=(working, "200")))
    await serve.intent("cancel-2", CANCEL, trade_id="T2")
    await serve.until("T2 taken back", shows(T1=(opened, "1000"), T2=(opened, "200")))
    await serve.intent("exit-1", EXIT, trade_id="T1")
    await serve.until("half of T1 out", shows(T1=(opened, "500"), T2=(opened, "200")))
    everything = 2**63 - 1
    await serve.intent("exit-2", EXIT, trade_id="T2", quantity_e8=everything)
    await serve.until("T2 out", shows(T1=(opened, "500")))
    await serve.intent("exit-3", EXIT, trade_id="T1")
    await serve.until("all out", is_over)
    await serve.stop()


async def rests(serve: Serve, venue: MockVenue, asset: str) -> bool:
    """Does an order work at the venue?  Keeps serve alive meanwhile."""
    await serve.up()
    return any(order.works and order.asset == asset for order in venue.book.orders)


# -- what is left ----------------------------------------------------------------------------------


class Left(NamedTuple):
    """The end of a session."""

    economic_hash: str
    #: As the venue has them: symbol, side, quantity, filled, status, realized, fee.
    orders: tuple[tuple[Any, ...], ...]
    wallet: int
    #: Numbers of the intents, by order of their first orders, whose order never reached the venue.
    lost: tuple[int, ...]
    kills: int


def told(book: Book) -> tuple[tuple[Any, ...], ...]:
    return tuple(
        (o.asset, int(o.side), o.quantity_e8, o.filled_e8, int(o.status), o.realized, o.fee)
        for o in book.orders
    )


def left_by(serve: Serve, venue: MockVenue) -> Left:
    """Read it from the disk; journal, snapshots and the venue's book have to agree."""
    reader = JournalReader.open(serve.state / "journal")
    engine = reader.epoch.engine()
    reader.replay_into(engine)
    from_snapshot, _ = SnapshotStore(serve.state / "snapshots").restore(reader)
    assert from_snapshot.state_hash() == engine.state_hash()
    kernel, book = engine.kernel, venue.book
    assert not book.positions
    orders = [o for trade in kernel.trades() for o in kernel.orders_of(trade.trade_no)]
    orders.sort(key=lambda order: order.order_no)
    sent = [o for o in orders if o.status is not VenueOrderStatus.ABSENT]
    clients = [o.client_order_id for o in book.orders]
    assert sorted(clients) == sorted(o.client_order_id for o in sent)
    assert len(set(clients)) == len(clients)
    lost = tuple(
        number for number, order in enumerate(orders) if order.status is VenueOrderStatus.ABSENT
    )
    ledger = kernel.ledger()
    assert ledger.wallet == book.wallet
    assert ledger.seed + ledger.realized - ledger.fees + ledger.trueup == book.wallet
    return Left(engine.economic_hash(), told(book), book.wallet, lost, serve.kills)


async def played(folder: Path, *plans: str | Strace, rules: tuple[Rule, ...] = ()) -> Left:
    """The session in a fresh folder, its serves started with these failpoints one after another."""
    folder.mkdir(parents=True)
    async with venue_at(folder / "venue.sock", *rules) as venue:
        serve = Serve(folder, folder / "venue.sock", venue, *plans)
        try:
            await session(serve, venue)
        finally:
            await serve.kill()
        return left_by(serve, venue)
