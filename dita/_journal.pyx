"""The journal's inner loops: checksum, collecting records, and walking through written bytes.

``journal.py`` is the only importer and does all files.  What is read here may be damaged in any
way: lengths are checked before they are used and nothing is believed before its checksum holds.
The contents page is ``_journal.pxd``.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawMalloc, PyMem_RawRealloc, PyMem_RawFree
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from dita._kernel cimport (
    HAS_COST, HAS_FEE, HAS_REALIZED, INCREMENT, LEGS_MAX, URGENT, Input,
)

import sys

from dita.errors import BadField

cdef extern from "_crc32c.h" nogil:
    int crc32c_hardware
    void crc32c_prepare()
    uint32_t crc32c_of(uint32_t crc, const unsigned char* data, size_t size)
    uint32_t crc32c_by_table(uint32_t crc, const unsigned char* data, size_t size)
    size_t crc32c_used(const unsigned char* data, size_t size)

if sys.byteorder != "little":
    raise ImportError("the journal and the packed records in it are little endian")
crc32c_prepare()

INPUT, MARK, EPOCH = RECORD_INPUT, RECORD_MARK, RECORD_EPOCH
QUARANTINE, NOTE = RECORD_QUARANTINE, RECORD_NOTE
CARRIED, CLOSE = RECORD_CARRIED, RECORD_CLOSE
FULL, EDGE, END, BAD = STOP_FULL, STOP_EDGE, STOP_END, STOP_BAD
AT_MARK, NEWER, AT_QUARANTINE = STOP_MARK, STOP_NEWER, STOP_QUARANTINE
HEADER_SIZE = sizeof(Header)
INPUT_SIZE = sizeof(Input)
PAYLOAD_LIMIT = PAYLOAD_MAX
PAYLOAD_VERSION = VERSION
SLOT_SIZE = sizeof(Slot)

cdef enum:
    CRC_AT = 4                  # of the checksum within the header
    CRC_END = 8


# -- one record ------------------------------------------------------------------------------------


cdef inline Py_ssize_t size_of(Py_ssize_t length) noexcept nogil:
    # length is at most PAYLOAD_MAX wherever this is called.
    return <Py_ssize_t>sizeof(Header) + ((length + ALIGNMENT - 1) & ~(<Py_ssize_t>ALIGNMENT - 1))


cdef inline uint32_t crc_of(const unsigned char* record, Py_ssize_t size) noexcept nogil:
    cdef uint32_t crc = crc32c_of(0, record, CRC_AT)
    return crc32c_of(crc, record + CRC_END, size - CRC_END)


cdef inline bint is_sound(const unsigned char* at, Py_ssize_t left, Header* h) noexcept nogil:
    # Is there a whole record, whatever its place in the chain?  Fills in the header.
    if left < <Py_ssize_t>sizeof(Header):
        return False
    memcpy(h, at, sizeof(Header))
    if not 0 < h.length <= PAYLOAD_MAX or size_of(h.length) > left:
        return False
    return crc_of(at, size_of(h.length)) == h.crc


cdef inline bint is_input(const Header* h) noexcept nogil:
    return h.kind == RECORD_INPUT or h.kind == RECORD_QUARANTINE


cdef inline bint is_readable(const Header* h) noexcept nogil:
    if h.zero != 0 or not 0 < h.version <= VERSION:
        return False
    if is_input(h):  # an older version's may be shorter: it is brought up to date first
        return h.version < VERSION or h.length >= sizeof(Input)
    return (h.kind == RECORD_MARK or h.kind == RECORD_EPOCH or h.kind == RECORD_NOTE
            or h.kind == RECORD_CARRIED or h.kind == RECORD_CLOSE)


def crc32c(const unsigned char[::1] data not None, uint32_t crc=0, bint table=False) -> int:
    """CRC32C of some bytes; ``crc`` is that of what came before, ``table`` avoids the processor's
    own instruction."""
    cdef const unsigned char* start = NULL
    if data.shape[0]:
        start = &data[0]
    if table:
        return <uint32_t>~crc32c_by_table(<uint32_t>~crc, start, data.shape[0])
    return crc32c_of(crc, start, data.shape[0])


def has_instruction() -> bool:
    """Does this processor compute CRC32C by itself?"""
    return crc32c_hardware != 0


# -- writing ---------------------------------------------------------------------------------------


@cython.final
cdef class Writer:
    """Collects records in memory; ``take`` seals what has come and hands it over as one batch.

    ``put`` and ``take`` may be called from two threads: each runs under the GIL until the buffer is
    consistent again.  Only one thread may take.
    """

    def __cinit__(self, uint64_t next_seq, uint32_t previous, Py_ssize_t limit):
        self.next_seq = next_seq
        self.previous = previous
        self.limit = limit

    def __dealloc__(self):
        PyMem_RawFree(self.buffer)

    cdef int reserve(self, Py_ssize_t size) except -1:
        cdef Py_ssize_t capacity = max(self.capacity, 65_536)
        cdef void* grown
        if size <= self.capacity:
            return 0
        while capacity < size:
            capacity *= 2
        grown = PyMem_RawRealloc(self.buffer, capacity)
        if grown == NULL:
            raise MemoryError()
        self.buffer = <unsigned char*>grown
        self.capacity = capacity
        return 0

    cdef uint64_t put(self, int kind, const char* head, Py_ssize_t head_size, const char* tail,
                      Py_ssize_t tail_size) except 0:
        cdef Py_ssize_t length = head_size + tail_size
        cdef Py_ssize_t size
        cdef Header h
        cdef unsigned char* at
        if not 0 < length <= PAYLOAD_MAX:
            raise BadField("payload", length, f"1 to {PAYLOAD_MAX} bytes")
        size = size_of(length)
        if self.used + size > self.limit:
            raise BufferError()
        self.reserve(self.used + size)
        memset(&h, 0, sizeof(Header))
        h.length = <uint32_t>length
        h.seq = self.next_seq
        h.kind = <uint8_t>kind
        h.version = VERSION
        at = self.buffer + self.used
        memcpy(at, &h, sizeof(Header))
        at += sizeof(Header)
        memcpy(at, head, head_size)
        memcpy(at + head_size, tail, tail_size)
        memset(at + length, 0, size - <Py_ssize_t>sizeof(Header) - length)
        self.used += size
        self.pending += 1
        self.next_seq += 1
        return h.seq

    def put_input(self, bytes packed not None, bytes texts not None,
                  bint quarantines=False) -> int:
        """Collect an input: its packed record and the texts that it lacks.  Gives its number.

        ``quarantines`` says of the newest one before it that nobody ever applies it.
        """
        if PyBytes_GET_SIZE(packed) != sizeof(Input):
            raise BadField("packed", PyBytes_GET_SIZE(packed), f"{sizeof(Input)} bytes")
        cdef int kind = RECORD_QUARANTINE if quarantines else RECORD_INPUT
        return self.put(kind, PyBytes_AS_STRING(packed), sizeof(Input),
                        PyBytes_AS_STRING(texts), PyBytes_GET_SIZE(texts))

    def put_other(self, int kind, bytes payload not None) -> int:
        """Collect a record that is no input.  Gives its number."""
        return self.put(kind, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), NULL, 0)

    @property
    def pending_bytes(self) -> int:
        """Bytes collected and not yet taken."""
        return self.used

    def take(self, uint64_t synced) -> bytes:
        """The batch so far, chained and sealed; ``synced`` is written into each record."""
        cdef Py_ssize_t used = self.used
        cdef bytes batch = PyBytes_FromStringAndSize(<char*>self.buffer, used)
        self.used = 0
        self.pending = 0
        cdef unsigned char* at = <unsigned char*>PyBytes_AS_STRING(batch)
        with nogil:
            self.previous = seal(at, used, synced, self.previous)
        return batch


cdef uint32_t seal(unsigned char* at, Py_ssize_t left, uint64_t synced,
                   uint32_t previous) noexcept nogil:
    # Ours alone and well formed: put() wrote it.
    cdef Header h
    cdef Py_ssize_t size
    while left > 0:
        memcpy(&h, at, sizeof(Header))
        size = size_of(h.length)
        h.synced = synced
        h.previous = previous
        memcpy(at, &h, sizeof(Header))
        h.crc = crc_of(at, size)
        memcpy(at + CRC_AT, &h.crc, sizeof(uint32_t))
        previous = h.crc
        at += size
        left -= size
    return previous


def fit(bytes batch not None, Py_ssize_t start, Py_ssize_t room) -> tuple:
    """How many whole records from ``start`` on go into ``room`` bytes: (end, last number or 0,
    its checksum)."""
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(batch)
    cdef Py_ssize_t total = PyBytes_GET_SIZE(batch)
    cdef Py_ssize_t at = start
    cdef Py_ssize_t size
    cdef uint64_t last = 0
    cdef uint32_t crc = 0
    cdef Header h
    if not 0 <= start <= total:
        raise BadField("start", start, f"0 to {total}")
    while total - at >= <Py_ssize_t>sizeof(Header):
        memcpy(&h, data + at, sizeof(Header))
        if not 0 < h.length <= PAYLOAD_MAX:
            break
        size = size_of(h.length)
        if size > total - at or at + size - start > room:
            break
        at += size
        last = h.seq
        crc = h.crc
    return at, last, crc


def stamp(bytes slot not None, uint64_t generation, uint64_t seq, uint32_t crc, uint64_t segment,
          uint64_t end, int64_t record_ms, int64_t boottime_ns, int64_t wall_ms) -> bytes:
    """A slot of the high-water mark with other figures; every commit writes one."""
    cdef Slot s
    if PyBytes_GET_SIZE(slot) != sizeof(Slot):
        raise BadField("slot", PyBytes_GET_SIZE(slot), f"{sizeof(Slot)} bytes")
    memcpy(&s, PyBytes_AS_STRING(slot), sizeof(Slot))
    s.generation = generation
    s.seq = seq
    s.crc = crc
    s.segment = segment
    s.end = end
    s.record_ms = record_ms
    s.boottime_ns = boottime_ns
    s.wall_ms = wall_ms
    s.check = crc32c_of(0, <unsigned char*>&s, sizeof(Slot) - sizeof(uint32_t))
    return PyBytes_FromStringAndSize(<char*>&s, sizeof(Slot))


# -- reading ---------------------------------------------------------------------------------------


cdef struct Walk:
    const unsigned char* data
    Py_ssize_t size
    Py_ssize_t at
    uint64_t seq                # that has to come next
    uint32_t previous
    uint64_t first              # records below are checked and not told
    uint64_t until              # the walk ends before this record; 0 = where the records end
    uint64_t synced             # highest that was seen
    int oldest                  # version seen
    unsigned char* inputs       # NULL: not wanted
    Py_ssize_t inputs_max
    Py_ssize_t inputs_count
    uint64_t* notes             # two numbers per record: offset; length, kind, version
    Py_ssize_t notes_max
    Py_ssize_t notes_count
    uint32_t* named             # indices of inputs that bring names
    Py_ssize_t named_count
    bint stop_at_mark
    bint stop_at_quarantine
    uint64_t newest_input       # number of the newest INPUT that was walked over, 0 for none


cdef void note(Walk* w, const Header* h) noexcept nogil:
    cdef const unsigned char* payload = w.data + w.at + sizeof(Header)
    cdef Input head
    w.notes[2 * w.notes_count] = <uint64_t>w.at
    w.notes[2 * w.notes_count + 1] = (
        h.length | <uint64_t>h.kind << 32 | <uint64_t>h.version << 40
    )
    w.notes_count += 1
    if h.version < w.oldest:
        w.oldest = h.version
    if is_input(h):
        memset(&head, 0, sizeof(Input))
        if h.version == VERSION:
            memcpy(&head, payload, sizeof(Input))
        memcpy(w.inputs + w.inputs_count * <Py_ssize_t>sizeof(Input), &head, sizeof(Input))
        if head.kind < 16 or head.venue_key >> 63:  # an intent, or an id that is no number
            w.named[2 * w.named_count] = <uint32_t>w.inputs_count
            w.named[2 * w.named_count + 1] = <uint32_t>(w.notes_count - 1)
            w.named_count += 1
        w.inputs_count += 1


cdef int walk(Walk* w) noexcept nogil:
    cdef Header h
    cdef Py_ssize_t left
    while True:
        left = w.size - w.at
        if w.until != 0 and w.seq >= w.until:
            return STOP_END
        if left < <Py_ssize_t>sizeof(Header):
            return STOP_EDGE
        if w.notes != NULL and (w.notes_count == w.notes_max or w.inputs_count == w.inputs_max):
            return STOP_FULL
        memcpy(&h, w.data + w.at, sizeof(Header))
        if h.length == 0:
            return STOP_END
        if not is_sound(w.data + w.at, left, &h) or h.seq != w.seq or h.previous != w.previous:
            return STOP_BAD
        if not is_readable(&h):
            return STOP_NEWER
        if h.synced >= h.seq:
            return STOP_BAD
        if h.synced > w.synced:
            w.synced = h.synced
        if w.notes != NULL and h.seq >= w.first:
            note(w, &h)
        w.at += size_of(h.length)
        w.seq += 1
        w.previous = h.crc
        if h.kind == RECORD_MARK and w.stop_at_mark and h.seq >= w.first:
            return STOP_MARK
        if h.kind == RECORD_QUARANTINE and w.stop_at_quarantine:
            return STOP_QUARANTINE
        if h.kind == RECORD_INPUT:
            w.newest_input = h.seq


def scan(const unsigned char[::1] data not None, Py_ssize_t at, uint64_t seq, uint32_t previous,
         *, uint64_t first=0, uint64_t until=0, unsigned char[::1] inputs=None, uint64_t[::1] notes=None,
         uint32_t[::1] named=None, bint stop_at_mark=False, bint stop_at_quarantine=False) -> tuple:
    """Walk from ``at``, where record ``seq`` has to be, as far as everything is right.

    Gives (why it stopped, offset, number of the next record, checksum of the last one, highest
    synced number seen, records noted, inputs copied, pairs in ``named``, oldest version noted,
    number of the newest INPUT or 0).
    Without the three arrays nothing is noted.  ``first`` is the first record to note, ``until`` the
    one to stop before.
    """
    cdef Walk w
    cdef int why
    memset(&w, 0, sizeof(Walk))
    if not 0 <= at <= data.shape[0]:
        raise BadField("at", at, f"0 to {data.shape[0]}")
    if notes is not None:
        if inputs is None or named is None:
            raise BadField("arrays", None, "all three of inputs, notes and named, or none")
        w.inputs_max = inputs.shape[0] // <Py_ssize_t>sizeof(Input)
        w.notes_max = notes.shape[0] // 2
        if not w.inputs_max or not w.notes_max or named.shape[0] < 2 * w.inputs_max:
            raise BadField("arrays", named.shape[0], "two numbers named for each input")
        w.inputs = &inputs[0]
        w.notes = &notes[0]
        w.named = &named[0]
    if data.shape[0]:
        w.data = &data[0]
    w.size = data.shape[0]
    w.at = at
    w.seq = seq
    w.previous = previous
    w.first = first
    w.until = until
    w.oldest = VERSION
    w.stop_at_mark = stop_at_mark
    w.stop_at_quarantine = stop_at_quarantine
    with nogil:
        why = walk(&w)
    return (why, w.at, w.seq, w.previous, w.synced, w.notes_count, w.inputs_count, w.named_count,
            w.oldest, w.newest_input)


def later(const unsigned char[::1] data not None, Py_ssize_t at, uint64_t seq) -> tuple:
    """What lies behind a damaged record ``seq`` at ``at``: sound records of at least that number.

    Gives (how many, the number of the one that vouches for most, up to where it says all was
    synced); zeros when there is none.
    """
    cdef Header h
    cdef Py_ssize_t size = data.shape[0]
    cdef Py_ssize_t place = at
    cdef Py_ssize_t found = 0
    cdef uint64_t witness = 0
    cdef uint64_t synced = 0
    cdef const unsigned char* start
    if not 0 <= at <= size:
        raise BadField("at", at, f"0 to {size}")
    if size == 0:
        return 0, 0, 0
    start = &data[0]
    with nogil:
        while place + <Py_ssize_t>sizeof(Header) <= size:
            memcpy(&h, start + place, sizeof(Header))
            if (h.length and h.seq >= seq and h.synced < h.seq
                    and h.seq - seq <= <uint64_t>(size // ALIGNMENT)
                    and is_sound(start + place, size - place, &h)):
                found += 1
                if h.synced >= synced:
                    synced = h.synced
                    witness = h.seq
                place += size_of(h.length)
            else:
                place += ALIGNMENT
    return found, witness, synced


def used(const unsigned char[::1] data not None, Py_ssize_t at) -> int:
    """Where the bytes from ``at`` on end that are not 0; ``at`` when there are none."""
    if not 0 <= at <= data.shape[0]:
        raise BadField("at", at, f"0 to {data.shape[0]}")
    if at == data.shape[0]:
        return at
    return at + <Py_ssize_t>crc32c_used(&data[at], data.shape[0] - at)


# -- the packed input, number by number ------------------------------------------------------------


cdef inline object optional(object amount, uint16_t flags, int flag):
    return amount if flags & flag else None


def fields(bytes packed not None) -> dict:
    """A packed input's numbers by the names of ``_kernel.Input``; None where not reported."""
    cdef Input e
    if PyBytes_GET_SIZE(packed) != sizeof(Input):
        raise BadField("packed", PyBytes_GET_SIZE(packed), f"{sizeof(Input)} bytes")
    memcpy(&e, PyBytes_AS_STRING(packed), sizeof(Input))
    if e.leg_count > LEGS_MAX:
        raise BadField("leg_count", e.leg_count, f"at most {LEGS_MAX}")
    return {
        "kind": e.kind, "slot": e.slot, "source": e.source, "side": e.side, "reason": e.reason,
        "order_type": e.order_type, "role": e.role, "leverage": e.leverage,
        "received_ms": e.received_ms, "exchange_ms": e.exchange_ms, "venue_key": e.venue_key,
        "client_key": e.client_key, "quantity_e8": e.quantity_e8,
        "last_quantity_e8": e.last_quantity_e8, "price_e10": e.price_e10,
        "last_price_e10": e.last_price_e10, "increment": bool(e.flags & INCREMENT),
        "urgent": bool(e.flags & URGENT), "cost": e.cost, "fee": e.fee, "realized": e.realized,
        "reported_cost": optional(e.cost, e.flags, HAS_COST),
        "reported_fee": optional(e.fee, e.flags, HAS_FEE),
        "reported_realized": optional(e.realized, e.flags, HAS_REALIZED),
        "has_fee": bool(e.flags & HAS_FEE),
        "wait_ms": e.wait_ms, "limit_ms": e.limit_ms, "deadline_ms": e.deadline_ms,
        "error_code": e.error_code, "position_side": e.position_side,
        "contract": (e.tick_e10, e.step_e8, e.min_quantity_e8, e.min_notional, e.taker_fee_e9,
                     e.maker_fee_e9),
        "legs_e9": tuple([e.legs_e9[i] for i in range(e.leg_count)]),
    }


def order_no(bytes packed not None) -> int:
    """The own order number that a client order id was resolved to when this was packed, or 0."""
    cdef Input e
    if PyBytes_GET_SIZE(packed) != sizeof(Input):
        raise BadField("packed", PyBytes_GET_SIZE(packed), f"{sizeof(Input)} bytes")
    memcpy(&e, PyBytes_AS_STRING(packed), sizeof(Input))
    return 0 if e.client_key >> 63 else e.client_key


def with_order_no(bytes packed not None, uint64_t number) -> bytes:
    """The packed input with its client order id resolved to this own order number."""
    cdef Input e
    if PyBytes_GET_SIZE(packed) != sizeof(Input):
        raise BadField("packed", PyBytes_GET_SIZE(packed), f"{sizeof(Input)} bytes")
    memcpy(&e, PyBytes_AS_STRING(packed), sizeof(Input))
    e.client_key = number
    return PyBytes_FromStringAndSize(<char*>&e, sizeof(Input))
