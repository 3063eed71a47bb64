/* Integers in vectors of 64 bytes: AVX512-VNNI, whose VPDPBUSD adds four products of unsigned and signed bytes
 * to 32 bits. 8-bit weights are stored plus 128; 128 times the sum of x is subtracted first. */
#include <stddef.h>
#include <stdint.h>

#define I_ROWS 16 /* rows of an accumulator */
#define I_MIX  8 /* outputs of i_mix */

typedef int8_t  i_x;   /* an element of a vector */
typedef __m512i i_acc; /* sums of I_ROWS rows */

V_INLINE i_acc i_from(int32_t start) { return _mm512_set1_epi32(start); }
V_INLINE i_acc i_zero(void) { return i_from(0); }

/* The same four bytes in all lanes */
V_INLINE __m512i i_four(const void *from)
{
    int32_t four;
    __builtin_memcpy(&four, from, sizeof four);
    return _mm512_set1_epi32(four);
}

V_INLINE __m512i i_bytes(const int8_t *from) { return _mm512_loadu_si512(from); }

V_INLINE i_acc i_plus(i_acc a, i_acc b) { return _mm512_add_epi32(a, b); }

/* sum += four columns of sixteen rows */
V_INLINE i_acc i_quad(i_acc sum, const int8_t *w, const i_x *x)
{
    return _mm512_dpbusd_epi32(sum, i_bytes(w), i_four(x));
}

/* sum += eight columns of sixteen rows: four at w, four at w + next */
V_INLINE i_acc i_dot(i_acc sum, const int8_t *w, size_t next, const i_x *x)
{
    return i_quad(i_quad(sum, w, x), w + next, x + 4);
}

V_INLINE void i_store(int32_t *to, i_acc sum) { _mm512_storeu_si512(to, sum); }

/* Sums of I_ROWS rows of 4-bit weights, and of a group of 32 columns of them. A byte holds two weights, each plus 8:
 * one of the first four columns in its low half, one of the next four in its high half. */
typedef __m512i i_rows;
typedef __m512i i_group;

V_INLINE i_rows  i_no_rows(void) { return _mm512_setzero_si512(); }
V_INLINE i_group i_begin(int32_t offset) { return _mm512_set1_epi32(offset); }

/* group += eight columns of sixteen rows */
V_INLINE i_group i_dot_four(i_group group, const int8_t *w, const i_x *x)
{
    const __m512i half = _mm512_set1_epi32(0x0F0F0F0F);
    __m512i pairs = i_bytes(w);
    group = _mm512_dpbusd_epi32(group, _mm512_and_si512(pairs, half), i_four(x));
    return _mm512_dpbusd_epi32(group, _mm512_and_si512(_mm512_srli_epi32(pairs, 4), half), i_four(x + 4));
}

/* rows += group times its multipliers */
V_INLINE i_rows i_fold(i_rows rows, i_group group, const int8_t *multipliers)
{
    __m512i times = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)multipliers));
    return _mm512_add_epi32(rows, _mm512_mullo_epi32(group, times));
}

V_INLINE void i_store_rows(int32_t *to, i_rows rows) { i_store(to, rows); }

/* sum += two weights times the values of two positions */
V_INLINE __m256i i_mix_pair(__m256i sum, const int16_t *weights, const int8_t *values)
{
    int32_t pair;
    __builtin_memcpy(&pair, weights, sizeof pair);
    __m256i both = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)values));
    return _mm256_dpwssd_epi32(sum, both, _mm256_set1_epi32(pair));
}

/* sums [I_MIX] = the products of pairs of weights and pairs of values, `next` bytes from pair to pair. Four sums at a
 * time, because the next VPDPWSSD can add to the same sum only after five cycles. */
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

/* Vectors of floats to integers, stored as bytes; returns their sum */
typedef __m512i l_i32;

V_INLINE l_i32 l_no_levels(void) { return _mm512_setzero_si512(); }

V_INLINE l_i32 l_put_levels(i_x *to, l_f32 a, l_i32 sum)
{
    __m512i levels = _mm512_cvtps_epi32(a);
    _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8(levels));
    return _mm512_add_epi32(sum, levels);
}

V_INLINE int32_t l_sum_of_levels(l_i32 sum) { return _mm512_reduce_add_epi32(sum); }

/* Weights of sixteen positions: of each eight the lower bytes, then the upper ones */
V_INLINE void i_put_weights(int16_t *to, l_f32 a)
{
    const __m512i bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0));
    const __m512i order = _mm512_setr_epi32(0, 4, 1, 5, 8, 12, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512i halves = _mm512_shuffle_epi8(_mm512_cvtps_epi32(a), bytes);
    _mm256_storeu_si256((__m256i *)(void *)to, _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, halves)));
}

/* The same eight bytes in all lanes */
V_INLINE __m512i i_eight(const void *from)
{
    int64_t eight;
    __builtin_memcpy(&eight, from, sizeof eight);
    return _mm512_set1_epi64(eight);
}

/* sums [I_MIX] = the products of groups of eight such weights and values [I_MIX][8], `next` bytes from group to group;
  * an even number of groups. The two bytes of a weight are multiplied separately. Two groups are computed side by side,
  * because the next VPDPBUSD can add to the same sum only after five cycles. */
V_INLINE void i_mix_eights(int32_t *sums, const int16_t *weights, const int8_t *values, size_t next, size_t groups)
{
    __m512i low0 = _mm512_setzero_si512(), high0 = low0, low1 = low0, high1 = low0;
    for (size_t i = 0; i < groups; i += 2, weights += 16, values += 2 * next) {
        low0 = _mm512_dpbusd_epi32(low0, i_eight(weights), i_bytes(values));
        high0 = _mm512_dpbusd_epi32(high0, i_eight(weights + 4), i_bytes(values));
        low1 = _mm512_dpbusd_epi32(low1, i_eight(weights + 8), i_bytes(values + next));
        high1 = _mm512_dpbusd_epi32(high1, i_eight(weights + 12), i_bytes(values + next));
    }
    __m512i high = _mm512_slli_epi32(_mm512_add_epi32(high0, high1), 8);
    __m512i sum = _mm512_add_epi32(_mm512_add_epi32(low0, low1), high);
    sum = _mm512_add_epi32(sum, _mm512_srli_epi64(sum, 32)); /* the first four positions and the last four */
    _mm256_storeu_si256((__m256i *)(void *)sums, _mm512_cvtepi64_epi32(sum));
}
