"""What a record holds, and how an input becomes one and is rebuilt from it exactly.

An input is stored as the 264 bytes that the kernel takes, followed by what those lack: texts, and
fields that mean nothing for its kind.  Reader and writer call this; it knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgspec

from dita import _journal
from dita.contracts import (
    BalanceReason,
    ContractRules,
    ControlAction,
    EvidenceSource,
    KernelCommandType,
    KernelEventKind,
    KernelIntent,
    OrderRole,
    OrderSide,
    OrderType,
    PositionSide,
    Record,
    RejectReason,
    RiskLimit,
    TradeSide,
    VenueEvent,
)
from dita.errors import BadField
from dita.journal.epochs import Carried, Close, Epoch, close_of, epoch_of
from dita.units import MONEY_MAX

Input = KernelIntent | VenueEvent

REASON_BYTES_MAX: Final = 2_000
#: The venue's words are cut to this before they are journalled.
MESSAGE_CHARACTERS_MAX: Final = 500
#: A note has to fit into a record whatever it is about.
NOTE_FIELDS_MAX: Final = 6
NOTE_NAME_MAX: Final = 32


def _from_version_1(kind: int, payload: bytes) -> bytes:
    """Inputs had 256 bytes: no deadline, no position side, no error code of the venue's."""
    return payload[:256] + bytes(8) + payload[256:] if kind == _journal.INPUT else payload


MARK_BYTES: Final = 32
#: And of one that says which record it is about.
LATE_MARK_BYTES: Final = 40

#: Payload version → (kind, payload) → payload of the next version.
UPCASTERS: dict[int, Callable[[int, bytes], bytes]] = {1: _from_version_1}

_ACCOUNT_KINDS: Final = frozenset(
    {
        KernelEventKind.ACCOUNT_UPDATE,
        KernelEventKind.FUNDING_FEE,
        KernelEventKind.TRANSFER,
        KernelEventKind.FOREIGN_FLOW,
    }
)
FIRST_EVENT_KIND: Final = min(KernelEventKind)
_EMPTY_CONTRACT: Final = ContractRules(tick_e10=0, step_e8=0)
_CONTRACT_FIELDS: Final = ContractRules.__struct_fields__
_encode = msgspec.msgpack.Encoder().encode
decode_texts = msgspec.msgpack.Decoder(list[str | dict[str, str]]).decode


class Mark(Record, frozen=True):
    """The state's hash after every record before this one, or up to record ``of``."""

    state_hash: str
    of: int = 0


class Note(Record, frozen=True):
    """What the runtime went through: a state, a gap, a question that fails.

    It is no input: the engine never sees it, and replay passes over it.  It stands in the journal
    so that the story of a night can be told from there.
    """

    time_ms: int
    name: str
    fields: dict[str, str | int]


class Entry(NamedTuple):
    """One record with its number; ``time_ms`` of a MARK is that of the input before it."""

    seq: int
    time_ms: int
    record: Input | Mark | Epoch | Note | Carried | Close
    #: Own order number that a client order id stood for when the input came; 0 for none.
    order_no: int = 0
    #: It broke an invariant and is not part of the state: a record behind it says so.
    quarantined: bool = False
    #: It says so of the newest input before it.
    quarantines: bool = False


def mark_payload(state_hash: str, of: int) -> bytes:
    """A mark's payload; ``of`` 0: of every record before it."""
    payload = bytes.fromhex(state_hash)
    if len(payload) != MARK_BYTES:
        raise BadField("state_hash", state_hash, f"{MARK_BYTES} bytes in hexadecimal")
    return payload + (of.to_bytes(LATE_MARK_BYTES - MARK_BYTES, "little") if of else b"")


def mark_of(payload: bytes) -> Mark:
    """A mark from its payload.  ValueError for what is none."""
    if len(payload) not in (MARK_BYTES, LATE_MARK_BYTES):
        raise ValueError(f"a mark of {len(payload)} bytes")
    return Mark(payload[:MARK_BYTES].hex(), int.from_bytes(payload[MARK_BYTES:], "little"))


def note_payload(note: Note) -> bytes:
    """A note's payload; its texts are cut, and escaped where they are no UTF-8: never refused."""
    fields = {
        _cut(name, NOTE_NAME_MAX): _cut(value) if isinstance(value, str) else _packable(value)
        for name, value in list(note.fields.items())[:NOTE_FIELDS_MAX]
    }
    return _encode((note.time_ms, _cut(note.name, NOTE_NAME_MAX), fields))


def _cut(text: str, limit: int = MESSAGE_CHARACTERS_MAX) -> str:
    return text[:limit].encode(errors="backslashreplace")[:limit].decode(errors="ignore")


def _packable(value: int) -> str | int:
    return value if value.bit_length() < 64 else str(value)


def note_of(payload: bytes) -> Note:
    """And back."""
    time_ms, name, fields = msgspec.msgpack.decode(
        payload, type=tuple[int, str, dict[str, str | int]]
    )
    return Note(time_ms, name, fields)


def other_of(kind: int, payload: bytes) -> Mark | Epoch | Note | Carried | Close:
    """A record that is no input, from its payload."""
    if kind == _journal.CARRIED:
        return Carried(payload)
    decode: dict[int, Callable[[bytes], Mark | Epoch | Note | Close]] = {
        _journal.MARK: mark_of,
        _journal.EPOCH: epoch_of,
        _journal.NOTE: note_of,
        _journal.CLOSE: close_of,
    }
    return decode[kind](payload)


def told_ms(record: Mark | Epoch | Note | Carried | Close) -> int:
    """The time that such a record has itself; 0 for none."""
    if isinstance(record, Epoch):
        return record.created_ms
    return record.time_ms if isinstance(record, Note | Close) else 0


def texts_of(record: Input, packed: bytes) -> bytes:
    """What the packed form lacks.  A decimal venue id is its own key, so it is in there already."""
    hashed = packed[55:56] > b"\x7f"  # the key's highest bit
    venue = record.venue_order_id if hashed else ""
    texts: tuple[str, ...]
    if isinstance(record, VenueEvent):
        texts = (record.event_id, record.asset, venue, record.client_order_id)
        rest = _event_rest(record)
    else:
        reason = record.reason
        if reason and not _is_short(reason):
            raise BadField("reason", reason, f"text of at most {REASON_BYTES_MAX} bytes of UTF-8")
        texts = (record.intent_id, record.trade_id, record.asset, venue, reason)
        rest = _intent_rest(record)
    return _encode((*texts, rest) if rest else texts)


def _intent_rest(i: KernelIntent) -> dict[str, str] | None:
    # Fields that mean nothing for this command, or share their place with another's.
    odd: dict[str, Any] = {}
    control = i.command is KernelCommandType.CONTROL
    if control:
        odd = {"carried_realized": i.carried_realized, "role": i.role}
        if i.carried_realized and i.amount is None:
            odd["amount"] = ""
    else:
        odd = {"limit": i.limit}
    if control and i.action is ControlAction.QUARANTINE:
        odd |= {"leverage": i.leverage - 1, "expires_ms": i.expires_ms}
    else:
        odd |= {"quarantined_seq": i.quarantined_seq, "rules_version": i.rules_version}
    found = {name: str(value) for name, value in odd.items() if value == "" or value}
    if i.contract == _EMPTY_CONTRACT:
        found["contract"] = ""
    return found or None


def _is_short(reason: Any) -> bool:
    if type(reason) is not str or len(reason) > REASON_BYTES_MAX:
        return False
    try:
        return len(reason.encode()) <= REASON_BYTES_MAX
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _event_rest(e: VenueEvent) -> dict[str, str] | None:
    rest = _odd_fields(e)
    if e.message:
        # What cannot be written as UTF-8 (half of a surrogate pair) is escaped, never refused.
        words = e.message[:MESSAGE_CHARACTERS_MAX].encode(errors="backslashreplace").decode()
        return {**(rest or {}), "message": words}
    return rest


def _odd_fields(e: VenueEvent) -> dict[str, str] | None:
    # Fields that mean nothing for this kind of event, and so have no place in the packed form.
    if e.kind in _ACCOUNT_KINDS:
        if e.fee is None and e.realized is None and not e.reject:
            return None
        odd = {"fee": e.fee, "realized": e.realized, "reject": e.reject or None}
    else:
        if e.amount is None and not e.available_margin and not e.balance_reason:
            return None
        margin, reason = e.available_margin or None, e.balance_reason or None
        odd = {"amount": e.amount, "available_margin": margin, "balance_reason": reason}
    found: dict[str, str] = {}
    value: Any
    for field, value in odd.items():
        if value is None:
            continue
        if not isinstance(value, int) or abs(value) > MONEY_MAX:
            raise BadField(field, value, "an exact int within the range of money")
        found[field] = str(int(value))
    return found


def _member(enum: type[IntEnum], number: int) -> Any:
    # A number that the enum does not know was refused by the kernel; it is told as it came.
    return enum._value2member_map_.get(number, number)


def record_of(packed: bytes, texts: bytes) -> Input:
    """The input that was appended."""
    numbers = _journal.fields(packed)
    found = decode_texts(texts)
    rest = found.pop() if found and isinstance(found[-1], dict) else {}
    told = [str(text) for text in found]
    assert isinstance(rest, dict)
    if numbers["kind"] >= FIRST_EVENT_KIND:
        return _event_of(numbers, told, rest)
    return _intent_of(numbers, told, rest)


def _venue_text(n: dict[str, Any], text: str) -> str:
    return text or (str(n["venue_key"]) if n["venue_key"] else "")


def _event_of(n: dict[str, Any], texts: list[str], rest: dict[str, str]) -> VenueEvent:
    event_id, asset, venue_id, client_id = texts
    message = rest.pop("message", "")
    odd = {name: int(text) for name, text in rest.items()}
    of_account = n["kind"] in _ACCOUNT_KINDS
    reported = n["reported_realized"]
    return VenueEvent(
        kind=_member(KernelEventKind, n["kind"]),
        received_ms=n["received_ms"],
        exchange_ms=n["exchange_ms"],
        event_id=event_id,
        asset=asset,
        venue_order_id=_venue_text(n, venue_id),
        client_order_id=client_id,
        slot_id=n["slot"],
        side=_member(OrderSide, n["side"]),
        quantity_e8=n["quantity_e8"],
        increment=n["increment"],
        price_e10=n["price_e10"],
        last_quantity_e8=n["last_quantity_e8"],
        last_price_e10=n["last_price_e10"],
        cost=n["reported_cost"],
        fee=odd.get("fee") if of_account else n["reported_fee"],
        realized=odd.get("realized") if of_account else reported,
        source=_member(EvidenceSource, n["source"]),
        reject=_member(RejectReason, odd.get("reject", 0) if of_account else n["reason"]),
        retry_after_ms=n["wait_ms"],
        amount=reported if of_account else odd.get("amount"),
        requested_ms=n["limit_ms"],
        balance_reason=_member(
            BalanceReason, n["reason"] if of_account else odd.get("balance_reason", 0)
        ),
        available_margin=n["fee"] if of_account else odd.get("available_margin", 0),
        position_side=_member(PositionSide, n["position_side"]),
        error_code=n["error_code"],
        message=message,
    )


def _intent_of(n: dict[str, Any], texts: list[str], rest: dict[str, str]) -> KernelIntent:
    intent_id, trade_id, asset, venue_id, reason = texts
    contract = None
    control = n["kind"] == KernelCommandType.CONTROL
    quarantine = control and n["reason"] == ControlAction.QUARANTINE
    odd = {name: int(text) for name, text in rest.items() if text}
    role, limit = (0, n["role"]) if control else (n["role"], 0)
    role, limit = odd.get("role", role), odd.get("limit", limit)
    if any(n["contract"]) or "contract" in rest:
        contract = ContractRules(**dict(zip(_CONTRACT_FIELDS, n["contract"], strict=True)))
    return KernelIntent(
        command=_member(KernelCommandType, n["kind"]),
        received_ms=n["received_ms"],
        intent_id=intent_id,
        trade_id=trade_id,
        slot_id=n["slot"],
        asset=asset,
        side=_member(TradeSide, n["side"]),
        quantity_e8=n["quantity_e8"],
        reference_price_e10=n["price_e10"],
        order_type=_member(OrderType, n["order_type"]),
        limit_price_e10=n["last_price_e10"],
        leverage=odd.get("leverage", 0) + 1 if quarantine else n["leverage"],
        exit_leg_ratios_e9=n["legs_e9"],
        contract=contract,
        urgent=n["urgent"],
        expires_ms=odd.get("expires_ms", 0) if quarantine else n["limit_ms"],
        working_ms=n["wait_ms"],
        reason=reason,
        entry_cost=n["cost"],
        carried_realized=odd.get("carried_realized", 0) if control else n["realized"],
        role=_member(OrderRole, role) if role else None,
        venue_order_id=_venue_text(n, venue_id),
        action=_member(ControlAction, n["reason"]) if n["reason"] else None,
        amount=n["reported_realized"] if control and "amount" not in rest else None,
        limit=_member(RiskLimit, limit) if limit else None,
        quarantined_seq=n["limit_ms"] if quarantine else odd.get("quarantined_seq", 0),
        rules_version=n["leverage"] if quarantine else odd.get("rules_version", 0),
        deadline_ms=n["deadline_ms"],
    )
