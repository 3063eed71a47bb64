/* Whole numbers for small processors without vectors: a word of weights is loaded at once, and taken apart by shifts. */
#include <stddef.h>
#include <stdint.h>

#define I_ROWS 8 /* rows of an accumulator */
#define I_MIX  4 /* outputs of i_mix */

typedef int8_t i_x; /* an element of a vector */

/* Sums of the products with whole words, and with words of which the lowest one, two and three bytes were shifted out.
 * Each holds the sum of one of four rows, and 256 times the next: all modulo 2^32, where the last row's sum takes the
 * others apart again. */
typedef struct i_four { uint32_t four, three, two, one; } i_four;
typedef struct i_acc { i_four low, high; } i_acc; /* sums of I_ROWS rows */

/* Nothing, but a point in the order of instructions. Left alone, compilers load so far ahead that sums are pushed out
 * of their registers. */
#define I_FENCE(sum) \
    __asm__ volatile("" : "+r"((sum).four), "+r"((sum).three), "+r"((sum).two), "+r"((sum).one) : : "memory")

/* Four bytes; all that is read so lies at a multiple of four bytes. */
V_INLINE uint32_t i_word(const void *from)
{
    uint32_t word;
    __builtin_memcpy(&word, __builtin_assume_aligned(from, 4), sizeof word);
    return word;
}

V_INLINE i_acc i_from(int32_t start)
{
    uint32_t all = (uint32_t)start;
    i_four four = { all * 0x01010101, all * 0x010101, all * 0x0101, all };
    return (i_acc){ four, four };
}

V_INLINE i_four i_dot_word(i_four sum, uint32_t word, uint32_t by)
{
    sum.one += (word >> 24) * by;
    sum.two += (word >> 16) * by;
    sum.three += (word >> 8) * by;
    sum.four += word * by;
    I_FENCE(sum);
    return sum;
}

/* sum += eight columns of eight rows, `next` bytes from column to column */
V_INLINE i_acc i_dot(i_acc sum, const int8_t *w, size_t next, const i_x *x)
{
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) {
        uint32_t by = (uint32_t)x[i];
        sum.low = i_dot_word(sum.low, i_word(w + i * next), by);
        sum.high = i_dot_word(sum.high, i_word(w + i * next + 4), by);
    }
    return sum;
}

V_INLINE void i_store_four(int32_t *to, i_four sum)
{
    to[0] = (int32_t)(sum.four - (sum.three << 8));
    to[1] = (int32_t)(sum.three - (sum.two << 8));
    to[2] = (int32_t)(sum.two - (sum.one << 8));
    to[3] = (int32_t)sum.one;
}

V_INLINE void i_store(int32_t *to, i_acc sum)
{
    i_store_four(to, sum.low);
    i_store_four(to + 4, sum.high);
}

/* Sums of I_ROWS rows of 4-bit weights, and of a group of 32 columns of them. A byte holds two weights of a row, each
 * plus 8: of a column in its low half, of the next in its high half. The sum of a group has 16 bits, so that two rows
 * share a word: the first and the third, the second and the fourth. */
typedef struct i_rows { int32_t row[I_ROWS]; } i_rows;
typedef struct i_group { uint32_t even[2], odd[2]; } i_group;

V_INLINE i_rows  i_no_rows(void) { return (i_rows){ { 0 } }; }
V_INLINE i_group i_begin(int32_t offset)
{
    uint32_t both = (uint32_t)offset * 0x10001;
    return (i_group){ { both, both }, { both, both } };
}

/* group += two columns of eight rows */
V_INLINE i_group i_dot_four(i_group group, const int8_t *w, const i_x *x)
{
    const uint32_t mask = 0x000F000F;
    uint32_t first = (uint32_t)x[0], second = (uint32_t)x[1];
    for (size_t i = 0; i < 2; i++) {
        uint32_t word = i_word(w + 4 * i);
        group.even[i] += (word & mask) * first + (word >> 4 & mask) * second;
        group.odd[i] += (word >> 8 & mask) * first + (word >> 12 & mask) * second;
    }
    return group;
}

/* rows += group times its multipliers */
V_INLINE i_rows i_fold(i_rows rows, i_group group, const uint8_t *multipliers)
{
    for (size_t i = 0; i < 2; i++) {
        int32_t row0 = (int16_t)group.even[i], row1 = (int16_t)group.odd[i];
        rows.row[4 * i] += row0 * multipliers[4 * i];
        rows.row[4 * i + 1] += row1 * multipliers[4 * i + 1];
        rows.row[4 * i + 2] += ((int32_t)(group.even[i] - (uint32_t)row0) >> 16) * multipliers[4 * i + 2];
        rows.row[4 * i + 3] += ((int32_t)(group.odd[i] - (uint32_t)row1) >> 16) * multipliers[4 * i + 3];
    }
    return rows;
}

V_INLINE void i_store_rows(int32_t *to, i_rows rows)
{
    for (size_t i = 0; i < I_ROWS; i++)
        to[i] = rows.row[i];
}

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
