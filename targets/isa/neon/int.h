/* Integers in vectors of 16 bytes: NEON of ARMv7 and AArch64. Two products of bytes, neither ever -128, fit 16
 * bits; pairs of those are added to 32. */
#include <stddef.h>
#include <stdint.h>

#define I_ROWS 4 /* rows of an accumulator */
#define I_MIX  4 /* outputs of i_mix */

typedef int8_t i_x;                              /* an element of a vector */
typedef struct i_acc { int32x4_t low, high; } i_acc; /* two partial sums of each of I_ROWS rows */

V_INLINE i_acc i_zero(void) { return (i_acc){ vdupq_n_s32(0), vdupq_n_s32(0) }; }

/* The same four bytes in all lanes */
V_INLINE int32x2_t i_four(const void *from)
{
    int32_t four;
    __builtin_memcpy(&four, from, sizeof four);
    return vdup_n_s32(four);
}

/* sum += eight columns of four rows: four at w, four at w + next */
V_INLINE i_acc i_dot(i_acc sum, const int8_t *w, size_t next, const i_x *x)
{
    int8x16_t first = vld1q_s8(w), second = vld1q_s8(w + next);
    int8x8_t x_first = vreinterpret_s8_s32(i_four(x)), x_second = vreinterpret_s8_s32(i_four(x + 4));
    int16x8_t low = vmull_s8(vget_low_s8(first), x_first), high = vmull_s8(vget_high_s8(first), x_first);
    low = vmlal_s8(low, vget_low_s8(second), x_second);
    high = vmlal_s8(high, vget_high_s8(second), x_second);
    sum.low = vpadalq_s16(sum.low, low);
    sum.high = vpadalq_s16(sum.high, high);
    return sum;
}

V_INLINE void i_store(int32_t *to, i_acc sum)
{
    vst1_s32(to, vpadd_s32(vget_low_s32(sum.low), vget_high_s32(sum.low)));
    vst1_s32(to + 2, vpadd_s32(vget_low_s32(sum.high), vget_high_s32(sum.high)));
}

/* Sums of I_ROWS rows of 4-bit weights; and of a group of 32 columns of them, four of 16 bits a row, which hold 8
 * products of 15 * 127. A byte holds two weights, each plus 8: one of the first four columns in its low half, one of
 * the next four in its high half. */
typedef int32x4_t i_rows;
typedef struct i_group { int16x8_t low, high; int32x4_t offset; } i_group;

V_INLINE i_rows  i_no_rows(void) { return vdupq_n_s32(0); }
V_INLINE i_group i_begin(int32_t offset) { return (i_group){ vdupq_n_s16(0), vdupq_n_s16(0), vdupq_n_s32(offset) }; }

/* group += eight columns of four rows */
V_INLINE i_group i_dot_four(i_group group, const int8_t *w, const i_x *x)
{
    uint8x16_t pairs = vreinterpretq_u8_s8(vld1q_s8(w));
    int8x16_t first = vreinterpretq_s8_u8(vandq_u8(pairs, vdupq_n_u8(15)));
    int8x16_t second = vreinterpretq_s8_u8(vshrq_n_u8(pairs, 4));
    int8x8_t x_first = vreinterpret_s8_s32(i_four(x)), x_second = vreinterpret_s8_s32(i_four(x + 4));
    group.low = vmlal_s8(vmlal_s8(group.low, vget_low_s8(first), x_first), vget_low_s8(second), x_second);
    group.high = vmlal_s8(vmlal_s8(group.high, vget_high_s8(first), x_first), vget_high_s8(second), x_second);
    return group;
}

/* rows += group times its multipliers */
V_INLINE i_rows i_fold(i_rows rows, i_group group, const int8_t *multipliers)
{
    int32x4_t low = vpaddlq_s16(group.low), high = vpaddlq_s16(group.high);
    int32x4_t sum = vcombine_s32(vpadd_s32(vget_low_s32(low), vget_high_s32(low)),
                                 vpadd_s32(vget_low_s32(high), vget_high_s32(high)));
    int16x8_t times = vmovl_s8(vreinterpret_s8_s32(i_four(multipliers)));
    return vmlaq_s32(rows, vaddq_s32(sum, group.offset), vmovl_s16(vget_low_s16(times)));
}

V_INLINE void i_store_rows(int32_t *to, i_rows rows) { vst1q_s32(to, rows); }

/* sums [I_MIX] = the products of pairs of weights and pairs of values, `next` bytes from pair to pair */
V_INLINE void i_mix(int32_t *sums, const int16_t *weights, const int8_t *values, size_t next, size_t pairs)
{
    i_acc sum = i_zero();
    for (size_t i = 0; i < pairs; i++, values += next) {
        int16x8_t both = vmovl_s8(vld1_s8(values));
        int16x4_t pair = vreinterpret_s16_s32(i_four(weights + 2 * i));
        sum.low = vmlal_s16(sum.low, vget_low_s16(both), pair);
        sum.high = vmlal_s16(sum.high, vget_high_s16(both), pair);
    }
    i_store(sums, sum);
}
