"""What a refusal means, in words: which field, what it held, what it should have held.

The compiled kernel refuses with numbers; ``kernel`` looks the words up here.  Knows the names of
fields and nothing of why a rule exists.
"""

from __future__ import annotations

from typing import Final

from dita.contracts import KernelIntent, VenueEvent


def value_of(record: KernelIntent | VenueEvent, field: str) -> object:
    """What the record holds under the name that the core gives to a bad field."""
    aliases = {
        "price_e10": ("reference_price_e10", "price_e10"),
        "limit_price_e10": ("limit_price_e10", "last_price_e10"),
        "time": ("received_ms",),
        "money": ("amount", "realized", "carried_realized"),
        "wait": ("working_ms", "retry_after_ms"),
        "kind": ("command", "kind"),
        "order": ("venue_order_id",),
        "reason": ("action", "reject"),
        "contract.step_e8": ("quantity_e8",),
        "contract minimum": ("quantity_e8",),
        "contract.tick_e10": ("contract",),
        "contract fee rate": ("contract",),
    }
    for name in aliases.get(field, (field,)):
        if hasattr(record, name):
            return getattr(record, name)
    return ""


def field_of(record: KernelIntent | VenueEvent, field: str) -> str:
    """The name under which a field that the core refuses is reported.

    The packed form of no contract is one with zeros; what is missing is the contract.
    """
    if field == "contract.tick_e10" and isinstance(record, KernelIntent):
        return field if record.contract else "contract"
    return field


#: What a refused field should have held.
EXPECTED: Final = {
    "kind": "a command or event kind that this entrance takes",
    "slot_id": "a slot of the table, or -1",
    "time": "a time above 0, below 2^53, and not ahead of the venue's clock",
    "quantity_e8": "a quantity above 0 that does not contradict what is known",
    "price_e10": "a price above 0",
    "limit_price_e10": "a limit price above 0 on the contract's tick",
    "leverage": "an exchange leverage from 1 to the cap",
    "exit_leg_ratios_e9": "1 to 8 ratios above 0 and at most 10^9",
    "asset": "the symbol, and of an order event that of its order",
    "intent_id": "an id of its own",
    "trade_id": "the id of the trade in that slot",
    "side": "a side, and of an order event that of its order",
    "contract.step_e8": "a quantity that is a multiple of the contract's step",
    "contract minimum": "at least the contract's minimum quantity and notional",
    "source": "an evidence source",
    "money": "an amount within 10^38 units of 10^-18, given where the kind needs one",
    "wait": "a wait of at most 7 days",
    "reason": "a reason or action of the enum",
    "order_type": "MARKET, LIMIT or LIMIT_IOC",
    "order": "ids of one order that can still be what is said of it",
    "contract": "the symbol's ContractRules: its tick, its step and its minimums",
    "contract.tick_e10": "a tick above 0",
    "contract fee rate": "fee rates from 0 to below 1",
    "event_id": "an id, so that it cannot be counted twice",
    "limit": "one of the limits",
    "limit of an order": "a notional within the limit of an order",
    "limit of a symbol": "a notional within what the limit of the symbol leaves",
    "limit of all symbols": "a notional within what the limit of all symbols leaves",
    "limit of positions": "fewer open positions than the limit",
    "limit of intents": "fewer entries in the last minute than the limit",
    "limit of the day's loss": "a day's loss below the limit",
}

#: What a refusal means to a person, by its code.
MEANINGS: Final = {
    "ENTRIES_FROZEN": "entries are frozen",
    "ANCHOR_NOT_QUIET": "money has just moved: try again in a second",
    "BALANCE_STALE": "the exchange's balance is too old for an entry",
    "SLOT_BUSY": "that trade id or symbol is in use",
    "NO_POSITION": "no trade of that id is open",
    "TERMINAL_STATE": "it is flat; only its last figures are still read",
    "NO_ACTIVE_EXIT_ORDER": "nothing of that trade is working",
    "DUPLICATE_EVENT": "it was taken before, or all of it is on its way out already",
    "FOREIGN_POSITION": "somebody else's position is on that symbol",
    "STALE_STATE": "the slot is in doubt; only an exit is taken",
    "LIMIT_REACHED": "every slot is in use",
    "SYMBOL_HELD": "entries of that symbol are held",
    "RISK_LIMIT": "a limit for new risk keeps it out",
    "VENUE_ERRORS": "the exchange has refused too often: wait some minutes",
    "EXPIRED": "it was taken up too late, so it was dropped",
    "NOT_READY": "serve is not READY",
    "OLD_ANCHOR": "a newer balance is known",
    "UNRESOLVED_SLOT": "it is about nothing of ours",
}

FREEZE_CAUSES: Final = (
    (1, "hold"),
    (2, "draining"),
    (4, "unexplained drift"),
    (8, "wallet empty"),
    (16, "recovery slot in use"),
    (32, "pending drift"),
    (64, "not ready"),
    (128, "loss of the day"),
    (256, "quarantine"),
)
