"""Plain decimal texts such as "123.45" as scaled integers; nearly all numbers that come are such.

``units.py`` is the only importer.  A text is read here exactly as the strict parser there reads it,
or not at all: what is odd in any way is left to that parser, which also says what is wrong.
"""

cimport cython
from cpython.long cimport PyLong_FromLongLong
from cpython.unicode cimport PyUnicode_1BYTE_DATA, PyUnicode_CheckExact, PyUnicode_GET_LENGTH
from libc.stdint cimport int64_t

from dita._kernel cimport money_fits_64, money_negative, money_product, money_t

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)

cdef enum:
    FIGURES_MAX = 18            # so many fit into 64 bits, whatever they are
    DIGITS_MAX = 18             # of a unit: the power of ten fits, too

cdef int64_t POWER[DIGITS_MAX + 1]
cdef int power_at
POWER[0] = 1
for power_at in range(DIGITS_MAX):
    POWER[power_at + 1] = 10 * POWER[power_at]


@cython.overflowcheck(False)    # the figures are counted
cdef int scale(const unsigned char* text, Py_ssize_t size, int digits, money_t* scaled) noexcept nogil:
    # Answers 1 when it is not figures with at most one point, or too much of it.
    cdef int64_t number = 0
    cdef int figures = 0
    cdef int decimals = 0
    cdef bint behind_point = False
    cdef Py_ssize_t at
    if size > FIGURES_MAX + 1:
        return 1
    for at in range(size):
        if c"0" <= text[at] <= c"9":
            number = number * 10 + (text[at] - c"0")
            figures += 1
            decimals += behind_point
        elif text[at] == c"." and not behind_point:
            behind_point = True
        else:
            return 1
    if not 0 < figures <= FIGURES_MAX or decimals > digits:
        return 1
    scaled[0] = money_product(number, POWER[digits - decimals])
    return 0


def plain(value, int digits) -> int:
    """An unsigned text in units of 10^-digits; -1 when it is not plain or beyond 63 bits."""
    cdef money_t scaled = 0
    if not 0 <= digits <= DIGITS_MAX:
        raise ValueError(digits)
    if not (PyUnicode_CheckExact(value) and PyUnicode_IS_COMPACT_ASCII(value)):
        return -1
    if scale(PyUnicode_1BYTE_DATA(value), PyUnicode_GET_LENGTH(value), digits, &scaled):
        return -1
    return PyLong_FromLongLong(<int64_t>scaled) if money_fits_64(scaled) else -1


def plain_signed(value, int digits) -> int | None:
    """A text that may start with a minus in units of 10^-digits; None when it is not plain."""
    cdef money_t scaled = 0
    cdef const unsigned char* text
    cdef Py_ssize_t size
    cdef bint negative
    if not 0 <= digits <= DIGITS_MAX:
        raise ValueError(digits)
    if not (PyUnicode_CheckExact(value) and PyUnicode_IS_COMPACT_ASCII(value)):
        return None
    text = PyUnicode_1BYTE_DATA(value)
    size = PyUnicode_GET_LENGTH(value)
    negative = size > 0 and text[0] == c"-"
    if scale(text + negative, size - negative, digits, &scaled):
        return None
    if negative:
        scaled = money_negative(scaled)
    return PyLong_FromLongLong(<int64_t>scaled) if money_fits_64(scaled) else scaled
