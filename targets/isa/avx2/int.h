/* Integers in vectors of 32 bytes: AVX2.
 *
 * vpmaddubsw multiplies unsigned by signed bytes and adds pairs, saturating at 16 bits. The sign of x is moved to the
 * weight first. Neither is ever -128, so that a pair stays below 2 * 127 * 127, and nothing saturates. */
#include <stddef.h>
#include <stdint.h>

#define I_ROWS 8 /* rows of an accumulator */
#define I_MIX  8 /* outputs of i_mix */

typedef int8_t  i_x;   /* an element of a vector */
typedef __m256i i_acc; /* sums of I_ROWS rows */

V_INLINE i_acc i_zero(void) { return _mm256_setzero_si256(); }

/* The same four bytes in all lanes */
V_INLINE __m256i i_four(const void *from)
{
    int32_t four;
    __builtin_memcpy(&four, from, sizeof four);
    return _mm256_set1_epi32(four);
}

/* Four columns of eight rows */
V_INLINE __m256i i_quad(const int8_t *w, __m256i x)
{
    __m256i weights = _mm256_loadu_si256((const __m256i *)(const void *)w);
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(weights, x));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* sum += eight columns of eight rows: four at w, four at w + next */
V_INLINE i_acc i_dot(i_acc sum, const int8_t *w, size_t next, const i_x *x)
{
    sum = _mm256_add_epi32(sum, i_quad(w, i_four(x)));
    return _mm256_add_epi32(sum, i_quad(w + next, i_four(x + 4)));
}

V_INLINE void i_store(int32_t *to, i_acc sum) { _mm256_storeu_si256((__m256i *)(void *)to, sum); }

/* For several vectors x, of 16 bits: widening eight rows once for all vectors is less work than moving signs for each
 * vector. Two partial sums of each of I_ROWS rows. */
typedef struct i_wide { __m256i low, high; } i_wide;

V_INLINE i_wide i_wide_zero(void) { return (i_wide){ _mm256_setzero_si256(), _mm256_setzero_si256() }; }

/* sum += four columns of eight rows */
V_INLINE i_wide i_wide_quad(i_wide sum, const int8_t *w, const int16_t *x)
{
    int64_t four;
    __builtin_memcpy(&four, x, sizeof four);
    __m256i columns = _mm256_set1_epi64x(four);
    __m256i low = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)w));
    __m256i high = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(w + 16)));
    sum.low = _mm256_add_epi32(sum.low, _mm256_madd_epi16(low, columns));
    sum.high = _mm256_add_epi32(sum.high, _mm256_madd_epi16(high, columns));
    return sum;
}

/* sum += eight columns of eight rows, in 16 bits: four at w, four at w + next */
V_INLINE i_wide i_wide_dot(i_wide sum, const int8_t *w, size_t next, const int16_t *x)
{
    return i_wide_quad(i_wide_quad(sum, w, x), w + next, x + 4);
}

V_INLINE void i_wide_store(int32_t *to, i_wide sum)
{
    i_store(to, _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum.low, sum.high), 0xD8));
}

/* Sums of I_ROWS rows of 4-bit weights; and of a group of 32 columns of them, two of 16 bits a row: 16 products of
 * 15 * 127 fit, and the offset as well. A byte holds two weights, each plus 8: one of the first four columns in its
 * low half, one of the next four in its high half. */
typedef __m256i i_rows;
typedef __m256i i_group;

V_INLINE i_rows  i_no_rows(void) { return _mm256_setzero_si256(); }
V_INLINE i_group i_begin(int32_t offset) { return _mm256_set1_epi32(offset & 0xFFFF); }

/* group += eight columns of eight rows */
V_INLINE i_group i_dot_four(i_group group, const int8_t *w, const i_x *x)
{
    const __m256i half = _mm256_set1_epi8(15);
    __m256i pairs = _mm256_loadu_si256((const __m256i *)(const void *)w);
    __m256i low = _mm256_and_si256(pairs, half), high = _mm256_and_si256(_mm256_srli_epi16(pairs, 4), half);
    group = _mm256_add_epi16(group, _mm256_maddubs_epi16(low, i_four(x)));
    return _mm256_add_epi16(group, _mm256_maddubs_epi16(high, i_four(x + 4)));
}

/* rows += group times its multipliers */
V_INLINE i_rows i_fold(i_rows rows, i_group group, const int8_t *multipliers)
{
    __m256i once = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)multipliers));
    __m256i twice = _mm256_blend_epi16(once, _mm256_slli_epi32(once, 16), 0xAA);
    return _mm256_add_epi32(rows, _mm256_madd_epi16(group, twice));
}

V_INLINE void i_store_rows(int32_t *to, i_rows rows) { i_store(to, rows); }

/* sums [I_MIX] = the products of pairs of weights and pairs of values, `next` bytes from pair to pair */
V_INLINE void i_mix(int32_t *sums, const int16_t *weights, const int8_t *values, size_t next, size_t pairs)
{
    __m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (size_t i = 0; i < pairs; i++, values += next) {
        __m256i both = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)values));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(both, i_four(weights + 2 * i)));
    }
    i_store(sums, sum);
}

/* Weights of eight positions */
V_INLINE void i_put_weights(int16_t *to, v_f32 a)
{
    __m256i whole = _mm256_cvtps_epi32(a);
    __m128i low = _mm256_castsi256_si128(whole), high = _mm256_extracti128_si256(whole, 1);
    _mm_storeu_si128((__m128i *)(void *)to, _mm_packs_epi32(low, high));
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
