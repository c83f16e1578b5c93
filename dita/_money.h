/* Exact money: signed 128-bit integers in units of 10^-18.
 *
 * Every operation that can leave the range returns nonzero instead of wrapping; the caller turns
 * that into a refusal before it writes anything.  Known to the kernel and to the benchmark's C
 * loop; knows nothing of orders or slots.
 */
#ifndef DITA_MONEY_H
#define DITA_MONEY_H

#include <stdint.h>

/* Alignment 8, so that a money field in a packed record or a bytes buffer is read safely. */
typedef __int128 money_t __attribute__((aligned(8)));
typedef unsigned __int128 umoney_t;

/* 10^38 < 2^127: the largest amount that is ever stored, on both sides of zero. */
#define MONEY_MAX (((__int128)5421010862427522170LL << 64) | (__int128)687399551400673280ULL)

/* Times are milliseconds since 1970, below this. */
#define TIME_MAX_MS 9007199254740992LL

/* An exit goal of everything there is and will be. */
#define ALL INT64_MAX

static inline int money_is_out(__int128 a) { return a > MONEY_MAX || a < -MONEY_MAX; }

/* So large that sums of many of them could leave the range. */
static inline int money_is_wide(__int128 a) {
    return a > MONEY_MAX / 1024 || a < -(MONEY_MAX / 1024);
}

static inline int money_add(money_t a, money_t b, money_t *out) {
    __int128 sum;
    if (__builtin_add_overflow((__int128)a, (__int128)b, &sum) || money_is_out(sum)) return 1;
    *out = sum;
    return 0;
}

static inline int money_sub(money_t a, money_t b, money_t *out) {
    __int128 difference;
    if (__builtin_sub_overflow((__int128)a, (__int128)b, &difference) || money_is_out(difference))
        return 1;
    *out = difference;
    return 0;
}

/* price 10^-10 x quantity 10^-8 = money 10^-18, exactly; cannot leave the range. */
static inline money_t money_product(int64_t price_e10, int64_t quantity_e8) {
    return (__int128)price_e10 * quantity_e8;
}

/* a * numerator / denominator, half to even.  Needs a >= 0 and 0 <= numerator <= denominator,
 * denominator > 0: then quotient * numerator <= a and remainder * numerator < 2^126. */
static inline money_t money_share(money_t a, int64_t numerator, int64_t denominator) {
    if (numerator == denominator) return a;
    if (numerator == 0) return 0;
    umoney_t d = (umoney_t)denominator;
    umoney_t quotient = (umoney_t)a / d;
    umoney_t rest = (umoney_t)a - quotient * d;
    umoney_t cross = rest * (umoney_t)numerator;
    umoney_t whole = cross / d;
    umoney_t left = cross - whole * d;
    umoney_t share = quotient * (umoney_t)numerator + whole;
    umoney_t twice = left * 2;
    if (twice > d || (twice == d && (share & 1))) share += 1;
    return (__int128)share;
}

static inline int quantity_add(int64_t a, int64_t b, int64_t *out) {
    return __builtin_add_overflow(a, b, out);
}

/* What two quantities make together, for comparisons only: at the end of the range it stays there. */
static inline int64_t quantity_sum(int64_t a, int64_t b) {
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return a > 0 ? INT64_MAX : -INT64_MAX;
    return sum;
}

/* floor(quantity * ratio), ratio in 10^-9, both non-negative. */
static inline int64_t quantity_share(int64_t quantity_e8, int64_t ratio_e9) {
    return (int64_t)((__int128)quantity_e8 * ratio_e9 / 1000000000);
}

/* Spreads keys over a table; wraps on purpose. */
static inline uint64_t key_mix(uint64_t key) {
    key ^= key >> 32;
    key *= 0x9E3779B97F4A7C15ULL;
    return key ^ (key >> 29);
}

static inline int money_sign(money_t a) { return (a > 0) - (a < 0); }
static inline money_t money_negative(money_t a) { return -a; }
static inline money_t money_signed(money_t a, int sign) { return sign < 0 ? -a : (__int128)a; }
static inline int money_cmp(money_t a, money_t b) { return (a > b) - (a < b); }
static inline int money_equal(money_t a, money_t b) { return a == b; }
static inline int money_fits_64(money_t a) { return a == (int64_t)a; }

#endif
