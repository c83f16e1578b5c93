"""Plain decimal texts such as "123.45" as scaled integers; nearly all numbers that come are such.

``units.py`` is the only importer.  A text is read here exactly as the strict parser there reads it,
or not at all: what is odd in any way is left to that parser, which also says what is wrong.
"""

cimport cython
from cpython.long cimport PyLong_FromLongLong
from cpython.unicode cimport PyUnicode_1BYTE_DATA, PyUnicode_CheckExact, PyUnicode_GET_LENGTH
from libc.stdint cimport int64_t

from dita._kernel cimport money_fits_64, money_product, money_t

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)

cdef enum:                      # decimals of each unit, as in units.py
    PRICE = 10
    QUANTITY = 8
    MONEY = 18
    RATIO = 9

cdef enum:
    FIGURES_MAX = 18            # so many fit into 63 bits, whatever they are
    TEXT_MAX = 20               # with a sign and a point

cdef int64_t POWER[MONEY + 1]
cdef int at_power
POWER[0] = 1
for at_power in range(MONEY):
    POWER[at_power + 1] = 10 * POWER[at_power]


@cython.overflowcheck(False)    # the figures are counted
cdef bint scale(object value, int digits, bint is_signed, money_t* scaled):
    # Is it figures with at most one point, and not too many of either kind?
    cdef int64_t number = 0
    cdef int figures = 0
    cdef int decimals = 0
    cdef bint negative = False
    cdef bint behind_point = False
    cdef Py_ssize_t at
    cdef Py_ssize_t size
    cdef const unsigned char* text
    if not PyUnicode_CheckExact(value) or not PyUnicode_IS_COMPACT_ASCII(value):
        return False
    size = PyUnicode_GET_LENGTH(value)
    if not 0 < size <= TEXT_MAX:
        return False
    text = PyUnicode_1BYTE_DATA(value)
    negative = is_signed and text[0] == c"-"
    for at in range(negative, size):
        if c"0" <= text[at] <= c"9":
            number = number * 10 + (text[at] - c"0")
            figures += 1
            decimals += behind_point
        elif text[at] == c"." and not behind_point:
            behind_point = True
        else:
            return False
    if not 0 < figures <= FIGURES_MAX or decimals > digits:
        return False
    scaled[0] = money_product(-number if negative else number, POWER[digits - decimals])
    return True


cdef object unsigned(object value, int digits):
    cdef money_t scaled = 0
    if scale(value, digits, False, &scaled) and money_fits_64(scaled):
        return PyLong_FromLongLong(<int64_t>scaled)
    return -1


def plain_price(value) -> int:
    """A price in units of 10^-10; -1 when it is not a plain text, or beyond 63 bits."""
    return unsigned(value, PRICE)


def plain_quantity(value) -> int:
    """A quantity in units of 10^-8; -1 when it is not a plain text, or beyond 63 bits."""
    return unsigned(value, QUANTITY)


def plain_ratio(value) -> int:
    """A ratio in units of 10^-9; -1 when it is not a plain text, or beyond 63 bits."""
    return unsigned(value, RATIO)


def plain_money(value) -> int | None:
    """Money in units of 10^-18, with or without a minus; None when it is not a plain text."""
    cdef money_t scaled = 0
    if not scale(value, MONEY, True, &scaled):
        return None
    return PyLong_FromLongLong(<int64_t>scaled) if money_fits_64(scaled) else scaled
