# The journal's bytes: one record's header, and the two classes of numbers that go with it.
#
# A record is this header and its payload, filled up with zeros to a multiple of 8 bytes; all
# numbers are little endian.  A length of 0 is the end of what was written.  The checksum is over
# everything else of the record, so it also covers the previous record's checksum: a chain.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:                      # Header.kind
    RECORD_INPUT = 1            # payload: the packed input, then the texts that it lacks
    RECORD_MARK = 2             # payload: the hash of the state after the record before it
    RECORD_EPOCH = 3            # payload: whose journal this is; the first record, and only that
    RECORD_QUARANTINE = 4       # payload: an input; the newest INPUT before it is not applied
    RECORD_NOTE = 5             # payload: what the runtime went through; no input, replay passes over it
    RECORD_CARRIED = 6          # payload: a piece of the state that the next epoch goes on from
    RECORD_CLOSE = 7            # payload: the epoch has ended; the last record

cdef enum:                      # why a scan stopped
    STOP_FULL = 0               # the caller's arrays are full
    STOP_EDGE = 1               # no room for another record
    STOP_END = 2                # a length of 0
    STOP_BAD = 3                # not the record that has to come here
    STOP_MARK = 4               # behind a MARK, when that was asked for
    STOP_NEWER = 5              # a sound record that this release cannot read
    STOP_QUARANTINE = 6         # behind a QUARANTINE, when that was asked for

cdef enum:
    ALIGNMENT = 8
    VERSION = 2                 # of the payloads that this release writes
    PAYLOAD_MAX = 4000          # bytes; more is never written, so more is damage

cdef struct Header:             # 32 bytes
    uint32_t length             # of the payload, without the filling
    uint32_t crc
    uint64_t seq
    uint64_t synced             # everything up to here was safe when this record was written
    uint32_t previous           # crc of the record before
    uint8_t kind
    uint8_t version
    uint16_t zero

cdef packed struct Slot:        # of the high-water mark; highwater.py says what the fields are
    char magic[8]
    uint8_t version
    uint8_t zero[7]
    uint64_t generation
    uint64_t namespace_hash
    uint64_t epoch
    char identity[16]
    uint64_t first_seq
    uint64_t seq
    uint32_t crc                # of record seq
    uint32_t zero_too
    uint64_t segment
    uint64_t end
    int64_t record_ms
    int64_t boottime_ns
    int64_t wall_ms
    char boot_id[40]
    uint32_t check              # over everything before it

cdef class Writer:
    cdef unsigned char* buffer
    cdef Py_ssize_t used
    cdef Py_ssize_t capacity
    cdef Py_ssize_t limit
    cdef uint32_t previous
    cdef readonly uint64_t next_seq
    cdef readonly uint64_t pending
    cdef int reserve(self, Py_ssize_t size) except -1
    cdef uint64_t put(self, int kind, const char* head, Py_ssize_t head_size, const char* tail,
                      Py_ssize_t tail_size) except 0
