/* Integers in vectors of 16 bytes: SSE2, which multiplies 16 bits at least; weights are widened first. */
#include <stddef.h>
#include <stdint.h>

#define I_ROWS 4 /* rows of an accumulator */
#define I_MIX  4 /* outputs of i_mix */

typedef int16_t i_x;                            /* an element of a vector */
typedef struct i_acc { __m128i low, high; } i_acc; /* two partial sums of each of I_ROWS rows */

V_INLINE i_acc i_zero(void) { return (i_acc){ _mm_setzero_si128(), _mm_setzero_si128() }; }

/* The lower, or the upper, eight bytes as 16 bits each */
V_INLINE __m128i i_low(__m128i a) { return _mm_srai_epi16(_mm_unpacklo_epi8(a, a), 8); }
V_INLINE __m128i i_high(__m128i a) { return _mm_srai_epi16(_mm_unpackhi_epi8(a, a), 8); }

/* sum += four columns of four rows */
V_INLINE i_acc i_quad(i_acc sum, const int8_t *w, const i_x *x)
{
    __m128i weights = _mm_loadu_si128((const __m128i *)(const void *)w);
    __m128i four = _mm_loadl_epi64((const __m128i *)(const void *)x);
    four = _mm_unpacklo_epi64(four, four);
    sum.low = _mm_add_epi32(sum.low, _mm_madd_epi16(i_low(weights), four));
    sum.high = _mm_add_epi32(sum.high, _mm_madd_epi16(i_high(weights), four));
    return sum;
}

/* sum += eight columns of four rows: four at w, four at w + next */
V_INLINE i_acc i_dot(i_acc sum, const int8_t *w, size_t next, const i_x *x)
{
    return i_quad(i_quad(sum, w, x), w + next, x + 4);
}

V_INLINE void i_store(int32_t *to, i_acc sum)
{
    __m128 low = _mm_castsi128_ps(sum.low), high = _mm_castsi128_ps(sum.high);
    __m128i even_sums = _mm_castps_si128(_mm_shuffle_ps(low, high, 0x88));
    __m128i odd_sums = _mm_castps_si128(_mm_shuffle_ps(low, high, 0xDD));
    _mm_storeu_si128((__m128i *)(void *)to, _mm_add_epi32(even_sums, odd_sums));
}

/* Sums of I_ROWS rows of 4-bit weights, and of a group of 32 columns of them. A byte holds two weights, each plus 8:
 * one of the first four columns in its low half, one of the next four in its high half. */
typedef __m128i i_rows;
typedef struct i_group { i_acc sum; __m128i offset; } i_group;

V_INLINE i_rows  i_no_rows(void) { return _mm_setzero_si128(); }
V_INLINE i_group i_begin(int32_t offset) { return (i_group){ i_zero(), _mm_set1_epi32(offset) }; }

/* sum += four columns of four rows of 4-bit weights, which have no sign */
V_INLINE i_acc i_half(i_acc sum, __m128i weights, const i_x *x)
{
    __m128i four = _mm_loadl_epi64((const __m128i *)(const void *)x);
    four = _mm_unpacklo_epi64(four, four);
    sum.low = _mm_add_epi32(sum.low, _mm_madd_epi16(_mm_unpacklo_epi8(weights, _mm_setzero_si128()), four));
    sum.high = _mm_add_epi32(sum.high, _mm_madd_epi16(_mm_unpackhi_epi8(weights, _mm_setzero_si128()), four));
    return sum;
}

/* group += eight columns of four rows */
V_INLINE i_group i_dot_four(i_group group, const int8_t *w, const i_x *x)
{
    const __m128i half = _mm_set1_epi8(15);
    __m128i pairs = _mm_loadu_si128((const __m128i *)(const void *)w);
    group.sum = i_half(group.sum, _mm_and_si128(pairs, half), x);
    group.sum = i_half(group.sum, _mm_and_si128(_mm_srli_epi16(pairs, 4), half), x + 4);
    return group;
}

/* rows += group times its multipliers; the lower halves of 64-bit products are those of signed 32-bit ones */
V_INLINE i_rows i_fold(i_rows rows, i_group group, const int8_t *multipliers)
{
    int32_t four, sums[4];
    __builtin_memcpy(&four, multipliers, sizeof four);
    i_store(sums, group.sum);
    __m128i sum = _mm_add_epi32(_mm_loadu_si128((const __m128i *)(const void *)sums), group.offset);
    __m128i times = _mm_cvtsi32_si128(four);
    times = _mm_unpacklo_epi8(times, times);
    times = _mm_srai_epi32(_mm_unpacklo_epi16(times, times), 24);
    __m128i even_sums = _mm_mul_epu32(sum, times);
    __m128i odd_sums = _mm_mul_epu32(_mm_srli_epi64(sum, 32), _mm_srli_epi64(times, 32));
    even_sums = _mm_shuffle_epi32(even_sums, 0x08);
    odd_sums = _mm_shuffle_epi32(odd_sums, 0x08);
    return _mm_add_epi32(rows, _mm_unpacklo_epi32(even_sums, odd_sums));
}

V_INLINE void i_store_rows(int32_t *to, i_rows rows) { _mm_storeu_si128((__m128i *)(void *)to, rows); }

/* sums [I_MIX] = the products of pairs of weights and pairs of values, `next` bytes from pair to pair */
V_INLINE void i_mix(int32_t *sums, const int16_t *weights, const int8_t *values, size_t next, size_t pairs)
{
    __m128i sum = _mm_setzero_si128();
    for (size_t i = 0; i < pairs; i++, values += next) {
        int32_t pair;
        __builtin_memcpy(&pair, weights + 2 * i, sizeof pair);
        __m128i both = i_low(_mm_loadl_epi64((const __m128i *)(const void *)values));
        sum = _mm_add_epi32(sum, _mm_madd_epi16(both, _mm_set1_epi32(pair)));
    }
    _mm_storeu_si128((__m128i *)(void *)sums, sum);
}
