/* Integers in vectors of 32 bytes: AVX-VNNI, whose VPDPBUSD adds four products of unsigned and signed bytes
 * to 32 bits. 8-bit weights are stored plus 128; 128 times the sum of x is subtracted first. */
#include <stddef.h>
#include <stdint.h>

#define I_ROWS 8 /* rows of an accumulator */
#define I_MIX  8 /* outputs of i_mix */

typedef int8_t  i_x;   /* an element of a vector */
typedef __m256i i_acc; /* sums of I_ROWS rows */

V_INLINE i_acc i_from(int32_t start) { return _mm256_set1_epi32(start); }
V_INLINE i_acc i_zero(void) { return i_from(0); }

/* The same four bytes in all lanes */
V_INLINE __m256i i_four(const void *from)
{
    int32_t four;
    __builtin_memcpy(&four, from, sizeof four);
    return _mm256_set1_epi32(four);
}

V_INLINE __m256i i_bytes(const int8_t *from) { return _mm256_loadu_si256((const __m256i *)(const void *)from); }

V_INLINE i_acc i_plus(i_acc a, i_acc b) { return _mm256_add_epi32(a, b); }

/* sum += four columns of eight rows */
V_INLINE i_acc i_quad(i_acc sum, const int8_t *w, const i_x *x)
{
    return _mm256_dpbusd_avx_epi32(sum, i_bytes(w), i_four(x));
}

/* sum += eight columns of eight rows: four at w, four at w + next */
V_INLINE i_acc i_dot(i_acc sum, const int8_t *w, size_t next, const i_x *x)
{
    return i_quad(i_quad(sum, w, x), w + next, x + 4);
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
V_INLINE i_rows i_fold(i_rows rows, i_group group, const int8_t *multipliers)
{
    __m256i times = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)multipliers));
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
typedef __m256i v_i32;

V_INLINE v_i32 v_no_levels(void) { return _mm256_setzero_si256(); }

V_INLINE v_i32 v_put_levels(i_x *to, v_f32 a, v_i32 sum)
{
    __m256i levels = _mm256_cvtps_epi32(a);
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(levels), _mm256_extracti128_si256(levels, 1));
    _mm_storel_epi64((__m128i *)(void *)to, _mm_packs_epi16(words, words));
    return _mm256_add_epi32(sum, levels);
}

V_INLINE int32_t v_sum_of_levels(v_i32 sum)
{
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
}

/* Weights of eight positions: the lower bytes, then the upper ones */
V_INLINE void i_put_weights(int16_t *to, v_f32 a)
{
    const __m256i bytes = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 0, 0, 0, 0);
    __m256i halves = _mm256_shuffle_epi8(_mm256_cvtps_epi32(a), bytes);
    halves = _mm256_permutevar8x32_epi32(halves, order);
    _mm_storeu_si128((__m128i *)(void *)to, _mm256_castsi256_si128(halves));
}

/* The same eight bytes in all lanes */
V_INLINE __m256i i_eight(const void *from)
{
    int64_t eight;
    __builtin_memcpy(&eight, from, sizeof eight);
    return _mm256_set1_epi64x(eight);
}

/* sums [I_MIX] = the products of groups of eight such weights and values [I_MIX][8], `next` bytes from group to group.
 * The two bytes of a weight are multiplied separately. */
V_INLINE void i_mix_eights(int32_t *sums, const int16_t *weights, const int8_t *values, size_t next, size_t groups)
{
    __m256i low0 = _mm256_setzero_si256(), high0 = low0, low1 = low0, high1 = low0;
    for (size_t i = 0; i < groups; i++, weights += 8, values += next) {
        __m256i low = i_eight(weights), high = i_eight(weights + 4);
        low0 = _mm256_dpbusd_avx_epi32(low0, low, i_bytes(values));
        high0 = _mm256_dpbusd_avx_epi32(high0, high, i_bytes(values));
        low1 = _mm256_dpbusd_avx_epi32(low1, low, i_bytes(values + 32));
        high1 = _mm256_dpbusd_avx_epi32(high1, high, i_bytes(values + 32));
    }
    low0 = _mm256_add_epi32(low0, _mm256_slli_epi32(high0, 8));
    low1 = _mm256_add_epi32(low1, _mm256_slli_epi32(high1, 8));
    /* the first four positions and the last four, of elements 0 1 4 5 2 3 6 7 */
    __m256i sum = _mm256_hadd_epi32(low0, low1);
    _mm256_storeu_si256((__m256i *)(void *)sums, _mm256_permute4x64_epi64(sum, 0xD8));
}
