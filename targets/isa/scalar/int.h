/* Integers without vector instructions: plain C. */
#include <stddef.h>
#include <stdint.h>

#define I_ROWS 1 /* rows of an accumulator */
#define I_MIX  4 /* outputs of i_mix */

typedef int8_t  i_x;   /* an element of a vector */
typedef int32_t i_acc; /* sums of I_ROWS rows */

V_INLINE i_acc i_zero(void) { return 0; }

/* sum += eight columns of a row: four at w, four at w + next */
V_INLINE i_acc i_dot(i_acc sum, const int8_t *w, size_t next, const i_x *x)
{
    for (size_t i = 0; i < 4; i++)
        sum += w[i] * x[i] + w[next + i] * x[4 + i];
    return sum;
}

V_INLINE void i_store(int32_t *to, i_acc sum) { *to = sum; }

/* Sums of I_ROWS rows of 4-bit weights, and of a group of 32 columns of them. A byte holds two weights, each plus 8:
 * one of the first four columns in its low half, one of the next four in its high half. */
typedef int32_t i_rows;
typedef int32_t i_group;

V_INLINE i_rows  i_no_rows(void) { return 0; }
V_INLINE i_group i_begin(int32_t offset) { return offset; }

/* group += eight columns of a row */
V_INLINE i_group i_dot_four(i_group group, const int8_t *w, const i_x *x)
{
    for (size_t i = 0; i < 4; i++) {
        uint8_t pair = (uint8_t)w[i];
        group += (pair & 15) * x[i] + (pair >> 4) * x[4 + i];
    }
    return group;
}

/* rows += group times its multiplier */
V_INLINE i_rows i_fold(i_rows rows, i_group group, const int8_t *multipliers) { return rows + group * *multipliers; }
V_INLINE void   i_store_rows(int32_t *to, i_rows rows) { *to = rows; }

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
