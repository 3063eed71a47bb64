/* Integers in vectors of 32 rows: RVV 1.0 of RISC-V. An element of x is a scalar that multiplies a column of 32
 * weights. The sum of two products of bytes, which are never -128, fits 16 bits; it is added to a sum of 32 bits. */
#include <stddef.h>
#include <stdint.h>

#define I_ROWS 32 /* rows of an accumulator */
#define I_MIX  8  /* outputs of i_mix */

typedef int8_t i_x;                                       /* an element of a vector */
typedef int32_t i_acc __attribute__((vector_size(128)));  /* sums of I_ROWS rows */
typedef int16_t i_short __attribute__((vector_size(64))); /* the same in 16 bits */
typedef int8_t  i_byte __attribute__((vector_size(32)));

V_INLINE i_acc i_zero(void) { return (i_acc){ 0 }; }

/* A column of weights, in 16 bits */
V_INLINE i_short i_column(const int8_t *w)
{
    i_byte column;
    __builtin_memcpy(&column, w, sizeof column);
    return __builtin_convertvector(column, i_short);
}

/* sum += eight columns, `next` bytes from column to column */
V_INLINE i_acc i_dot(i_acc sum, const int8_t *w, size_t next, const i_x *x)
{
#pragma GCC unroll 4
    for (size_t i = 0; i < 8; i += 2) {
        i_short two = i_column(w + i * next) * (int16_t)x[i] + i_column(w + (i + 1) * next) * (int16_t)x[i + 1];
        sum += __builtin_convertvector(two, i_acc);
    }
    return sum;
}

V_INLINE void i_store(int32_t *to, i_acc sum) { __builtin_memcpy(to, &sum, sizeof sum); }

/* Sums of I_ROWS rows of 4-bit weights; and of a group of 32 columns of them, in 16 bits, which wrap on the way: the
 * offset makes the whole one of 32 products of at most 8 * 127. A byte holds two weights, each plus 8: that of a column
 * in its low half, that of the next in its high half. */
typedef i_acc i_rows;
typedef uint16_t i_group __attribute__((vector_size(64)));

V_INLINE i_rows  i_no_rows(void) { return i_zero(); }
V_INLINE i_group i_begin(int32_t offset) { return (i_group){ 0 } + (uint16_t)offset; }

/* group += two columns */
V_INLINE i_group i_dot_four(i_group group, const int8_t *w, const i_x *x)
{
    typedef uint8_t i_pairs __attribute__((vector_size(32)));
    i_pairs pairs;
    __builtin_memcpy(&pairs, w, sizeof pairs);
    group += (i_group)(__builtin_convertvector((i_byte)(pairs & 15), i_short) * (int16_t)x[0]);
    group += (i_group)(__builtin_convertvector((i_byte)(pairs >> 4), i_short) * (int16_t)x[1]);
    return group;
}

/* rows += group times its multipliers */
V_INLINE i_rows i_fold(i_rows rows, i_group group, const int8_t *multipliers)
{
    i_acc times = __builtin_convertvector(i_column(multipliers), i_acc);
    return rows + __builtin_convertvector((i_short)group, i_acc) * times;
}

V_INLINE void i_store_rows(int32_t *to, i_rows rows) { i_store(to, rows); }

/* sums [I_MIX] = the products of pairs of weights and pairs of values, `next` bytes from pair to pair */
V_INLINE void i_mix(int32_t *sums, const int16_t *weights, const int8_t *values, size_t next, size_t pairs)
{
    typedef int8_t  bytes __attribute__((vector_size(2 * I_MIX)));
    typedef int16_t shorts __attribute__((vector_size(4 * I_MIX)));
    typedef int32_t words __attribute__((vector_size(8 * I_MIX)));
    typedef int32_t pair __attribute__((vector_size(4 * I_MIX)));
    words sum = { 0 };
    for (size_t i = 0; i < pairs; i++, values += next) {
        bytes both;
        int32_t two;
        __builtin_memcpy(&both, values, sizeof both);
        __builtin_memcpy(&two, weights + 2 * i, sizeof two);
        words by = __builtin_convertvector((shorts)((pair){ 0 } + two), words);
        sum += __builtin_convertvector(both, words) * by;
    }
    pair each = __builtin_shufflevector(sum, sum, 0, 2, 4, 6, 8, 10, 12, 14)
                + __builtin_shufflevector(sum, sum, 1, 3, 5, 7, 9, 11, 13, 15);
    __builtin_memcpy(sums, &each, sizeof each);
}

/* The nearest integers, ties to even, for |a| < 2^22: adding 1.5 * 2^23 leaves them in the low bits. */
V_INLINE v_i32 i_nearest(v_f32 a) { return (v_i32)((v_u32)(a + 12582912.0f) - UINT32_C(0x4B400000)); }

/* Weights of attention, rounded to the nearest */
V_INLINE void i_put_weights(int16_t *to, v_f32 a)
{
    typedef int16_t eight __attribute__((vector_size(16)));
    eight weights = __builtin_convertvector(i_nearest(a), eight);
    __builtin_memcpy(to, &weights, sizeof weights);
}

V_INLINE v_i32 v_no_levels(void) { return (v_i32){ 0 }; }

/* Put the integers nearest to a; sum += these. */
V_INLINE v_i32 v_put_levels(i_x *to, v_f32 a, v_i32 sum)
{
    typedef int8_t eight __attribute__((vector_size(8)));
    v_i32 levels = i_nearest(a);
    eight bytes = __builtin_convertvector(levels, eight);
    __builtin_memcpy(to, &bytes, sizeof bytes);
    return sum + levels;
}

V_INLINE int32_t v_sum_of_levels(v_i32 sum)
{
    sum += __builtin_shufflevector(sum, sum, 4, 5, 6, 7, 4, 5, 6, 7);
    sum += __builtin_shufflevector(sum, sum, 2, 3, 2, 3, 2, 3, 2, 3);
    return sum[0] + sum[1];
}
