"""The engine in a program of one's own: a short is opened, filled, closed and accounted for.

    python configs/examples/embedded_engine.py

``Program`` is what an embedder writes: it journals each input, applies it, and only then does what
the outcome asks for; answers come back as inputs.  ``Exchange`` stands for a real one and fills
everything at once.  What is owed for each effect, and how often, is in docs/embedding.md.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from dita import events, intents
from dita.account import AccountConfig
from dita.contracts import Effect, EffectKind, KernelIntent, OrderSide, TradeSide, VenueEvent
from dita.engine import Engine
from dita.kernel import KernelConfig
from dita.units import format_money, format_quantity

FET = intents.contract_rules(
    tick="0.0001", step="1", min_quantity="10", min_notional="2", taker_fee="0.0005"
)


class Exchange:
    """One symbol, no latency; money in USDT."""

    def __init__(self, wallet: str, price: str) -> None:
        self.wallet, self.price = Decimal(wallet), Decimal(price)
        self.position = self.cost = Decimal(0)
        #: Quantity, price, fee and result of each order, by client order id.
        self.orders: dict[str, tuple[Decimal, Decimal, Decimal, Decimal]] = {}

    def fill(self, order: Effect) -> None:
        """A MARKET order, filled whole."""
        quantity = Decimal(format_quantity(order.quantity_e8))
        signed = quantity if order.side is OrderSide.BUY else -quantity
        fee = quantity * self.price * Decimal("0.0005")
        result = Decimal(0)
        if order.reduce_only:
            result = -signed * (self.price - self.cost / self.position)
            self.cost += self.cost / self.position * signed
        else:
            self.cost += signed * self.price
        self.position += signed
        self.wallet += result - fee
        self.orders[order.client_order_id] = quantity, self.price, fee, result


class Program:
    """The loop around an engine."""

    def __init__(self, exchange: Exchange, now_ms: int) -> None:
        self.exchange = exchange
        self.now_ms = now_ms
        self.journal: list[KernelIntent | VenueEvent] = []
        self.said: list[str] = []
        # A new state, so an epoch of its own: the time when it begins.
        config = KernelConfig.for_trading(namespace="example", epoch=now_ms)
        self.engine = Engine(config, AccountConfig.for_bingx())

    def send(self, first: KernelIntent | VenueEvent) -> None:
        """Journal, apply, act; and the same with every answer."""
        inbox = deque([first])
        while inbox:
            record = inbox.popleft()
            self.journal.append(record)  # and sync it: what was not written down never happened
            outcome = self.engine.apply(record)
            if not outcome.kernel.accepted:
                self.say(f"refused: {outcome.kernel.code.name} {dict(outcome.kernel.details)}")
            for effect in outcome.effects:
                inbox.extend(self.act(effect))

    def act(self, effect: Effect) -> list[VenueEvent]:
        """Do what an outcome asks for; what is to be told of it."""
        client, asked_ms = effect.client_order_id, self.now_ms
        self.now_ms += 50
        match effect.kind:
            case EffectKind.SUBMIT:
                return self.submit(effect)
            case EffectKind.FINALISE | EffectKind.QUERY_ORDER:
                quantity, price, fee, result = self.exchange.orders[client]
                return [
                    events.final(
                        received_ms=self.now_ms,
                        exchange_ms=self.now_ms,
                        client_order_id=client,
                        quantity=quantity,
                        cost=quantity * price,
                        fee=fee,
                        realized=result,
                    )
                ]
            case EffectKind.CANCEL:  # too late: everything is filled at once
                return [events.cancel_rejected(received_ms=self.now_ms, client_order_id=client)]
            case EffectKind.QUERY_POSITION:
                held = self.exchange.position
                return [
                    events.position(
                        received_ms=self.now_ms,
                        asked_ms=asked_ms,
                        asset=effect.asset,
                        quantity=abs(held),
                        side=None if not held else TradeSide.LONG if held > 0 else TradeSide.SHORT,
                    )
                ]
            case EffectKind.QUERY_BALANCE:
                return [self.balance()]
            case EffectKind.FEED_SIZER:
                self.say(f"for the sizer: {format_money(effect.realized - effect.fees)}")
                return []
            case EffectKind.CLOSE_TRADE:
                self.say(f"the record of {effect.trade_id} is complete")
                return []

    def submit(self, effect: Effect) -> list[VenueEvent]:
        """Send an order, once; had the answer been lost, ``events.unknown`` would be it."""
        self.exchange.fill(effect)
        quantity, price, fee, _ = self.exchange.orders[effect.client_order_id]
        self.say(f"{effect.side.name} {quantity} {effect.asset} at {price}")
        return [
            events.ack(
                received_ms=self.now_ms,
                client_order_id=effect.client_order_id,
                venue_order_id=str(len(self.exchange.orders)),
            ),
            events.fill(
                received_ms=self.now_ms,
                exchange_ms=self.now_ms,
                client_order_id=effect.client_order_id,
                quantity=quantity,
                price=price,
                fee=fee,
            ),
        ]

    def balance(self) -> VenueEvent:
        """The answer to a question for the balance."""
        asked_ms, self.now_ms = self.now_ms, self.now_ms + 50
        return events.balance(
            received_ms=self.now_ms,
            asked_ms=asked_ms,
            exchange_ms=self.now_ms,
            wallet=self.exchange.wallet,
        )

    def wait(self, milliseconds: int) -> None:
        """Let time pass; the engine is told when that would change something."""
        self.now_ms += milliseconds
        if 0 < self.engine.kernel.due_ms <= self.now_ms:
            self.send(events.tick(received_ms=self.now_ms, exchange_ms=self.now_ms))

    def say(self, text: str) -> None:
        """Print a line, and remember it."""
        self.said.append(text)
        print(text)


def trade_once(program: Program) -> None:
    """Open a short, and close it at a better price."""
    send, engine = program.send, program.engine
    send(intents.not_ready(received_ms=program.now_ms, intent_id="begin", reason="start"))
    send(program.balance())  # and orders, positions, income: here there is nothing yet
    send(intents.ready(received_ms=program.now_ms, intent_id="begun"))

    send(
        intents.enter(
            received_ms=program.now_ms,
            intent_id="enter-1",
            trade_id="T1",
            asset="FET-USDT",
            side=TradeSide.SHORT,
            quantity="1000",
            price="0.1900",
            contract=FET,
        )
    )
    program.wait(60_000)
    program.exchange.price = Decimal("0.1850")
    send(intents.mark(received_ms=program.now_ms, asset="FET-USDT", price="0.1850"))
    program.say(f"unrealized {format_money(engine.snapshot.unrealized)}")
    send(intents.exit_(received_ms=program.now_ms, intent_id="exit-1", trade_id="T1"))
    program.wait(5_000)
    send(program.balance())

    trade, account = engine.kernel.trade("T1"), engine.snapshot
    if trade is not None:
        program.say(
            f"{trade.trade_id}: realized {format_money(trade.realized)},"
            f" fees {format_money(trade.fees)}, {trade.pnl_source}"
        )
    program.say(
        f"capital {format_money(account.capital)} ({account.capital_source}),"
        f" drift {format_money(account.drift)} {dict(account.drift_by_cause)}"
    )


if __name__ == "__main__":
    trade_once(Program(Exchange(wallet="25000", price="0.1900"), now_ms=1_781_198_532_678))
