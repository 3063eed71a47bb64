/* Integers in vectors of 16 bytes: Helium, which adds up sixteen products of bytes into a register. */
#include <stddef.h>
#include <stdint.h>

#define I_ROWS 1 /* rows of an accumulator */
#define I_MIX  4 /* outputs of i_mix */

typedef int8_t  i_x;   /* an element of a vector */
typedef int32_t i_acc; /* sums of I_ROWS rows */

V_INLINE i_acc i_zero(void) { return 0; }

/* sum += sixteen columns of a row */
V_INLINE i_acc i_dot(i_acc sum, const int8_t *w, size_t next, const i_x *x)
{
    (void)next;
    return vmladavaq_s8(sum, vldrbq_s8(w), vldrbq_s8(x));
}

V_INLINE void i_store(int32_t *to, i_acc sum) { *to = sum; }

/* Sums of I_ROWS rows of 4-bit weights, and of a group of 32 columns of them. A byte holds two weights, each plus 8:
 * one of the first sixteen columns in its low half, one of the next sixteen in its high half. */
typedef int32_t i_rows;
typedef int32_t i_group;

V_INLINE i_rows  i_no_rows(void) { return 0; }
V_INLINE i_group i_begin(int32_t offset) { return offset; }

/* group += thirty-two columns of a row */
V_INLINE i_group i_dot_four(i_group group, const int8_t *w, const i_x *x)
{
    uint8x16_t pairs = vreinterpretq_u8_s8(vldrbq_s8(w));
    int8x16_t low = vreinterpretq_s8_u8(vandq_u8(pairs, vdupq_n_u8(15)));
    int8x16_t high = vreinterpretq_s8_u8(vshrq_n_u8(pairs, 4));
    return vmladavaq_s8(vmladavaq_s8(group, low, vldrbq_s8(x)), high, vldrbq_s8(x + 16));
}

/* rows += group times its multiplier */
V_INLINE i_rows i_fold(i_rows rows, i_group group, const int8_t *multipliers) { return rows + group * *multipliers; }
V_INLINE void   i_store_rows(int32_t *to, i_rows rows) { *to = rows; }

/* sums [I_MIX] = the products of pairs of weights and pairs of values, `next` bytes from pair to pair */
V_INLINE void i_mix(int32_t *sums, const int16_t *weights, const int8_t *values, size_t next, size_t pairs)
{
    int32x4_t sum = vdupq_n_s32(0);
    for (size_t i = 0; i < pairs; i++, values += next) {
        int32_t pair;
        __builtin_memcpy(&pair, weights + 2 * i, sizeof pair);
        int16x8_t both = vldrbq_s16(values), pairs_of = vreinterpretq_s16_s32(vdupq_n_s32(pair));
        sum = vaddq_s32(sum, vmullbq_int_s16(both, pairs_of));
        sum = vaddq_s32(sum, vmulltq_int_s16(both, pairs_of));
    }
    vst1q_s32(sums, sum);
}
