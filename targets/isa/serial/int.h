/* Integers one at a time, for small processors without vectors: no sum leaves its register. */
#include <stddef.h>
#include <stdint.h>

#define I_ROWS 4 /* rows of an accumulator */
#define I_MIX  4 /* outputs of i_mix */

typedef int8_t i_x; /* an element of a vector */
typedef struct i_acc { int32_t row0, row1, row2, row3; } i_acc; /* sums of I_ROWS rows */

/* No instruction, but it fixes the order of instructions. Otherwise compilers load so far ahead that sums do not stay
 * in registers. */
#define I_FENCE(sum) \
    __asm__ volatile("" : "+r"((sum).row0), "+r"((sum).row1), "+r"((sum).row2), "+r"((sum).row3) : : "memory")

V_INLINE i_acc i_zero(void) { return (i_acc){ 0, 0, 0, 0 }; }

/* sum += four columns of four rows */
V_INLINE i_acc i_quad(i_acc sum, const int8_t *w, const i_x *x)
{
    for (size_t i = 0; i < 4; i++) {
        int32_t by = x[i];
        sum.row0 += w[i] * by;
        sum.row1 += w[i + 4] * by;
        sum.row2 += w[i + 8] * by;
        sum.row3 += w[i + 12] * by;
        I_FENCE(sum);
    }
    return sum;
}

/* sum += eight columns of four rows: four at w, four at w + next */
V_INLINE i_acc i_dot(i_acc sum, const int8_t *w, size_t next, const i_x *x)
{
    return i_quad(i_quad(sum, w, x), w + next, x + 4);
}

V_INLINE void i_store(int32_t *to, i_acc sum)
{
    to[0] = sum.row0;
    to[1] = sum.row1;
    to[2] = sum.row2;
    to[3] = sum.row3;
}

/* Sums of I_ROWS rows of 4-bit weights, and of a group of 32 columns of them. A byte holds two weights, each plus 8:
 * one of the first four columns in its low half, one of the next four in its high half. */
typedef i_acc i_rows;
typedef i_acc i_group;

V_INLINE i_rows  i_no_rows(void) { return i_zero(); }
V_INLINE i_group i_begin(int32_t offset) { return (i_group){ offset, offset, offset, offset }; }

/* group += eight columns of four rows */
V_INLINE i_group i_dot_four(i_group group, const int8_t *w, const i_x *x)
{
    const uint8_t *pairs = (const uint8_t *)w;
    for (size_t i = 0; i < 4; i++) {
        int32_t low = x[i], high = x[i + 4];
        group.row0 += (pairs[i] & 15) * low + (pairs[i] >> 4) * high;
        group.row1 += (pairs[i + 4] & 15) * low + (pairs[i + 4] >> 4) * high;
        group.row2 += (pairs[i + 8] & 15) * low + (pairs[i + 8] >> 4) * high;
        group.row3 += (pairs[i + 12] & 15) * low + (pairs[i + 12] >> 4) * high;
        I_FENCE(group);
    }
    return group;
}

/* rows += group times its multipliers */
V_INLINE i_rows i_fold(i_rows rows, i_group group, const int8_t *multipliers)
{
    return (i_rows){ rows.row0 + group.row0 * multipliers[0], rows.row1 + group.row1 * multipliers[1],
                     rows.row2 + group.row2 * multipliers[2], rows.row3 + group.row3 * multipliers[3] };
}

V_INLINE void i_store_rows(int32_t *to, i_rows rows) { i_store(to, rows); }

/* sums [I_MIX] = the products of pairs of weights and pairs of values, `next` bytes from pair to pair */
V_INLINE void i_mix(int32_t *sums, const int16_t *weights, const int8_t *values, size_t next, size_t pairs)
{
    int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
    for (size_t i = 0; i < pairs; i++, values += next) {
        int32_t first = weights[2 * i], second = weights[2 * i + 1];
        sum0 += first * values[0] + second * values[1];
        sum1 += first * values[2] + second * values[3];
        sum2 += first * values[4] + second * values[5];
        sum3 += first * values[6] + second * values[7];
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}
