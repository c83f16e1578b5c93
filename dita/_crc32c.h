/* CRC32C (Castagnoli, reflected), as the journal uses it: with the processor's instruction where
 * there is one, else with eight tables.  Which of the two is decided once, at run time, so that one
 * build serves every machine.  Known to the journal alone.
 */
#ifndef DITA_CRC32C_H
#define DITA_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define DITA_CRC32C_SSE 1
#include <nmmintrin.h>
#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#define DITA_CRC32C_ARM 1
#include <arm_acle.h>
#if defined(__linux__)
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#endif
#endif

static uint32_t crc32c_tables[8][256];
static int crc32c_hardware = 0;

static uint32_t crc32c_by_table(uint32_t crc, const unsigned char *p, size_t n) {
    while (n >= 8) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + 4, 4);
        low ^= crc; /* little endian, as all of the journal */
        crc = crc32c_tables[7][low & 255] ^ crc32c_tables[6][(low >> 8) & 255] ^
              crc32c_tables[5][(low >> 16) & 255] ^ crc32c_tables[4][low >> 24] ^
              crc32c_tables[3][high & 255] ^ crc32c_tables[2][(high >> 8) & 255] ^
              crc32c_tables[1][(high >> 16) & 255] ^ crc32c_tables[0][high >> 24];
        p += 8;
        n -= 8;
    }
    while (n--) crc = crc32c_tables[0][(crc ^ *p++) & 255] ^ (crc >> 8);
    return crc;
}

#if defined(DITA_CRC32C_SSE)
__attribute__((target("sse4.2"))) static uint32_t
crc32c_by_instruction(uint32_t crc, const unsigned char *p, size_t n) {
    uint64_t wide = crc, word;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&word, p, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    while (n--) crc = _mm_crc32_u8(crc, *p++);
    return crc;
}
static int crc32c_has_instruction(void) { return __builtin_cpu_supports("sse4.2") != 0; }
#elif defined(DITA_CRC32C_ARM)
#if defined(__clang__)
__attribute__((target("crc")))
#else
__attribute__((target("+crc")))
#endif
static uint32_t crc32c_by_instruction(uint32_t crc, const unsigned char *p, size_t n) {
    uint64_t word;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&word, p, 8);
        crc = __crc32cd(crc, word);
    }
    while (n--) crc = __crc32cb(crc, *p++);
    return crc;
}
static int crc32c_has_instruction(void) {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#elif defined(__APPLE__)
    return 1;
#else
    return 0;
#endif
}
#else
static uint32_t crc32c_by_instruction(uint32_t crc, const unsigned char *p, size_t n) {
    return crc32c_by_table(crc, p, n);
}
static int crc32c_has_instruction(void) { return 0; }
#endif

/* Call once before anything else; a second call changes nothing. */
static void crc32c_prepare(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0);
        crc32c_tables[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++) {
            uint32_t before = crc32c_tables[k - 1][i];
            crc32c_tables[k][i] = crc32c_tables[0][before & 255] ^ (before >> 8);
        }
    crc32c_hardware = crc32c_has_instruction();
}

/* Start with 0; the result of one piece is the start of the next. */
static inline uint32_t crc32c_of(uint32_t crc, const unsigned char *p, size_t n) {
    crc = ~crc;
    crc = crc32c_hardware ? crc32c_by_instruction(crc, p, n) : crc32c_by_table(crc, p, n);
    return ~crc;
}

/* How far the bytes after the last one that is not 0 reach down: its index + 1. */
static inline size_t crc32c_used(const unsigned char *p, size_t n) {
    uint64_t word;
    while (n >= 8) {
        memcpy(&word, p + n - 8, 8);
        if (word) break;
        n -= 8;
    }
    while (n && !p[n - 1]) n--;
    return n;
}

#endif
