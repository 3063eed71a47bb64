/* Whole numbers in vectors of 32 bytes: AVX-VNNI, whose VPDPBUSD adds four products of unsigned and signed bytes
 * to 32 bits. 8-bit weights are stored plus 128; so many times the sum of x is taken off first. */
#include <stddef.h>
#include <stdint.h>

#define I_ROWS 8 /* rows of an accumulator */
#define I_MIX  8 /* outputs of i_mix */

typedef int8_t  i_x;   /* an element of a vector */
typedef __m256i i_acc; /* sums of I_ROWS rows */

V_INLINE i_acc i_from(int32_t start) { return _mm256_set1_epi32(start); }

/* The same four bytes everywhere */
V_INLINE __m256i i_four(const void *from)
{
    int32_t four;
    __builtin_memcpy(&four, from, sizeof four);
    return _mm256_set1_epi32(four);
}

V_INLINE __m256i i_bytes(const int8_t *from) { return _mm256_loadu_si256((const __m256i *)(const void *)from); }

/* sum += eight columns of eight rows: four at w, four at w + next */
V_INLINE i_acc i_dot(i_acc sum, const int8_t *w, size_t next, const i_x *x)
{
    sum = _mm256_dpbusd_avx_epi32(sum, i_bytes(w), i_four(x));
    return _mm256_dpbusd_avx_epi32(sum, i_bytes(w + next), i_four(x + 4));
}

V_INLINE void i_store(int32_t *to, i_acc sum) { _mm256_storeu_si256((__m256i *)(void *)to, sum); }

/* Sums of I_ROWS rows of 4-bit weights, and of a group of 32 columns of them. A byte holds two weights, each plus 8:
 * one of the first four columns in its low half, one of the next four in its high half. */
typedef __m256i i_rows;
typedef __m256i i_group;

V_INLINE i_rows  i_no_rows(void) { return _mm256_setzero_si256(); }
V_INLINE i_group i_begin(int32_t offset) { return _mm256_set1_epi32(offset); }

/* group += eight columns of eight rows */
V_INLINE i_group i_dot_four(i_group group, const int8_t *w, const i_x *x)
{
    const __m256i half = _mm256_set1_epi32(0x0F0F0F0F);
    __m256i pairs = i_bytes(w);
    group = _mm256_dpbusd_avx_epi32(group, _mm256_and_si256(pairs, half), i_four(x));
    return _mm256_dpbusd_avx_epi32(group, _mm256_and_si256(_mm256_srli_epi16(pairs, 4), half), i_four(x + 4));
}

/* rows += group times its multipliers */
V_INLINE i_rows i_fold(i_rows rows, i_group group, const uint8_t *multipliers)
{
    __m256i times = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)multipliers));
    return _mm256_add_epi32(rows, _mm256_mullo_epi32(group, times));
}

V_INLINE void i_store_rows(int32_t *to, i_rows rows) { i_store(to, rows); }

/* sum += two weights times the values of two positions */
V_INLINE __m256i i_mix_pair(__m256i sum, const int16_t *weights, const int8_t *values)
{
    int32_t pair;
    __builtin_memcpy(&pair, weights, sizeof pair);
    __m256i both = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)values));
    return _mm256_dpwssd_avx_epi32(sum, both, _mm256_set1_epi32(pair));
}

/* sums [I_MIX] = the products of pairs of weights and pairs of values, `next` bytes from pair to pair. Four sums at a
 * time, for VPDPWSSD takes five cycles before the next one can add to its own. */
V_INLINE void i_mix(int32_t *sums, const int16_t *weights, const int8_t *values, size_t next, size_t pairs)
{
    __m256i sum0 = _mm256_setzero_si256(), sum1 = sum0, sum2 = sum0, sum3 = sum0;
    for (; pairs >= 4; pairs -= 4, weights += 8, values += 4 * next) {
        sum0 = i_mix_pair(sum0, weights, values);
        sum1 = i_mix_pair(sum1, weights + 2, values + next);
        sum2 = i_mix_pair(sum2, weights + 4, values + 2 * next);
        sum3 = i_mix_pair(sum3, weights + 6, values + 3 * next);
    }
    for (; pairs > 0; pairs--, weights += 2, values += next)
        sum0 = i_mix_pair(sum0, weights, values);
    sum0 = _mm256_add_epi32(_mm256_add_epi32(sum0, sum1), _mm256_add_epi32(sum2, sum3));
    _mm256_storeu_si256((__m256i *)(void *)sums, sum0);
}
